//! Small files of the node: written whole or not at all, read with a bound.
//!
//! Nothing is synced to the platter but by [`write_json_whole`], [`store`] and [`store_all`]:
//! what these files describe (processes) mostly does not survive a power cut either, and a
//! kill of the server loses no page.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// No file is larger: what would be is refused when it is written, not when it is needed.
const MOST: usize = 64 << 20;

/// A file system with less has no room: it keeps some for its own records.
const LEAST: u64 = 16 << 20;

/// What the kernel changes of a file in one act.
const PAGE: usize = 4096;

/// The kernel's words for a full disk, as the C library has them.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("{act} {}", path.display())]
pub struct Error {
    /// What was tried.
    pub act: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// Whether the thing does not exist.
    pub(crate) fn is_absent(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Whether a full disk is at the bottom of a failure: of ours, or of whatever
/// the backend did for us.
pub(crate) fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    let code = io.or_else(|| error.downcast_ref::<rustix::io::Errno>().map(|errno| errno.raw_os_error()));
    let full = [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT].map(rustix::io::Errno::raw_os_error);
    code.is_some_and(|code| full.contains(&code)) || error.source().is_some_and(is_full)
}

/// Whether somebody says so who has only words for it, as the checkpoint tool does. Not
/// for what a sandbox's own programs print: they mean their own disk.
pub(crate) fn says_full(said: &str) -> bool {
    FULL.iter().any(|words| said.contains(words))
}

/// Whether the file system of a directory has no room left: then it is to blame for what
/// somebody inside says of a full disk, and not the limit of that one sandbox.
pub(crate) fn has_no_room(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < LEAST)
}

pub(crate) fn error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { act, path: path.to_owned(), source }
}

/// Runs file operations on a thread where they may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(panic) => match panic.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            // The runtime is going down; whoever waits is dropped with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Makes a directory that only its owner can enter; its parent must exist.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(error("making directory", path))
}

/// Makes a directory and its parents where they are missing.
pub(crate) fn ensure_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(error("making directory", path))
}

/// Writes a file that only its owner can read: a new one replaces the old in one act.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        write_new(&temporary, value)?;
        replace(&temporary, path)
    };
    write().map_err(error("writing", path))
}

/// The same, and a loss of power leaves the old file or the new one.
pub(crate) fn write_json_whole<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        write_new(&temporary, value)?.sync_data()?;
        replace(&temporary, path)
    };
    write().map_err(error("writing", path))
}

fn write_new<T: Serialize>(path: &Path, value: &T) -> io::Result<fs::File> {
    let bytes = bounded(value)?;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&bytes)?;
    Ok(file)
}

fn bounded<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let bytes = serde_json::to_vec_pretty(value)?;
    if bytes.len() > MOST {
        let (has, most) = (bytes.len() >> 20, MOST >> 20);
        return Err(io::Error::other(format!("it would have {has} MiB, at most {most} MiB are read again")));
    }
    Ok(bytes)
}

/// Writes a file of ours over itself where old and new have room in one page, which the
/// kernel changes in one act for all who outlive this process; else as [`write_json`]
/// does. A loss of power may tear it, and whoever reads meanwhile may have half of
/// each. What is won is a file made and one removed.
pub(crate) fn amend_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let amend = || -> io::Result<bool> {
        let mut file = fs::OpenOptions::new().write(true).open(path)?;
        let mut bytes = bounded(value)?;
        let old = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if old.max(bytes.len()) > PAGE {
            return Ok(false);
        }
        // Of a longer one before it nothing may show.
        bytes.resize(old.max(bytes.len()), b' ');
        file.write_all(&bytes)?;
        Ok(true)
    };
    match amend() {
        Ok(true) => Ok(()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(error("writing", path)(e)),
        _ => write_json(path, value),
    }
}

/// Gives a file the name of another, which goes. By exchange where there is one and
/// the host's filesystem can: over a rename, ext4 writes the new file's data out
/// before it returns, which takes longer than all the rest.
fn replace(temporary: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(temporary),
        Err(_) => fs::rename(temporary, path),
    }
}

/// Writes a file or a directory's names back to the disk.
pub(crate) fn store(path: &Path) -> Result<(), Error> {
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(error("writing back", path))
}

/// Writes back the whole file system that a directory lies on: one wait for however
/// many files were written there.
pub(crate) fn store_all(dir: &Path) -> Result<(), Error> {
    let store = || Ok(rustix::fs::syncfs(fs::File::open(dir)?)?);
    store().map_err(error("writing back", dir))
}

/// Reads a file of bounded size.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let read = || -> io::Result<T> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(MOST as u64 + 1).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    read().map_err(error("reading", path))
}

/// A small text of ours; nothing if it does not exist.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(error("reading", path)),
    }
}

/// Removes a directory with all it holds; gone already is well too.
pub(crate) fn remove_dir(path: &Path) -> Result<(), Error> {
    absent_is_well(fs::remove_dir_all(path)).map_err(error("removing", path))
}

/// Removes a file; gone already is well too.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    absent_is_well(fs::remove_file(path)).map_err(error("removing", path))
}

fn absent_is_well(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What a directory holds, sorted by name.
pub(crate) fn list_dir(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(path).map_err(error("listing", path))?;
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(error("listing", path))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;

    #[test]
    fn an_amended_file_holds_the_new_value_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        let lengths = [30, 4000, 10, 9000, 20, 4094, 4095, 1];
        for value in lengths.map(|n| "x".repeat(n)) {
            amend_json(&path, &value).unwrap();
            assert_eq!(read_json::<String>(&path).unwrap(), value);
            assert_eq!(list_dir(dir.path()).unwrap(), std::slice::from_ref(&path));
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        write_json(&path, &"before").unwrap();
        // Each of these takes six bytes.
        let long = "\u{1}".repeat(MOST / 6 + 1);
        for write in [write_json, write_json_whole, amend_json] {
            let error = chain(&write(&path, &long).unwrap_err());
            assert!(error.contains("64 MiB"), "{error}");
            assert_eq!(read_json::<String>(&path).unwrap(), "before");
        }
        let most = "\u{1}".repeat(MOST / 6 - 1);
        write_json_whole(&path, &most).unwrap();
        assert_eq!(read_json::<String>(&path).unwrap(), most);
    }

    #[test]
    fn a_full_disk_is_known_at_the_bottom_of_a_chain() {
        let failed = |code| error("writing", Path::new("/x"))(io::Error::from_raw_os_error(code));
        assert!(is_full(&failed(rustix::io::Errno::NOSPC.raw_os_error())));
        assert!(is_full(&failed(rustix::io::Errno::DQUOT.raw_os_error())));
        assert!(is_full(&rustix::io::Errno::NOSPC));
        assert!(!is_full(&failed(rustix::io::Errno::NOENT.raw_os_error())));
        assert!(says_full("the checkpoint tool says: flushing image: No space left on device"));
        assert!(!says_full("the checkpoint tool says: no space for it"));
    }
}

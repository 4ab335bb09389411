//! Listing a directory to some depth.

use std::io;
use std::num::NonZero;
use std::vec::IntoIter;

use rustix::fs::{Dir, FileType, Mode, OFlags, open, stat};
use wire::connect::{Code, Error};
use wire::filesystem::EntryInfo;

use super::entry::{NoAttributes, entry_in};
use crate::user::Names;

/// Entries that are looked at together, and held beside the answer.
const BATCH: usize = 4096;
/// Fewer are not worth a thread.
const SHARE: usize = 512;
/// Threads that look at one batch. Nearly all the time goes to the kernel, which
/// answers each processor by itself.
const MOST_THREADS: usize = 4;

/// Entries below `path`, directories before their content, each directory in
/// lexical order, down to `depth` levels. Links inside are not followed; what
/// vanishes meanwhile is skipped. Beyond `most` entries the answer would not fit
/// the daemon's memory.
pub(crate) fn list(path: &str, depth: u32, most: usize) -> Result<Vec<EntryInfo>, Error> {
    let about = stat(path).map_err(|errno| refusal(path, &errno.into()))?;
    if FileType::from_raw_mode(about.st_mode) != FileType::Directory {
        return Err(Error::new(Code::InvalidArgument, format!("path is not a directory: {path}")));
    }
    let names = Names::read();
    let mut entries = Vec::new();
    // Directories that are being walked, the innermost last.
    let mut walked = vec![Walked::begin(path, 1)?];
    while let Some(innermost) = walked.last_mut() {
        let level = innermost.level;
        let Some((path, found)) = innermost.next(&names) else {
            walked.pop();
            continue;
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(refusal(&path, &error)),
        };
        if entries.len() >= most {
            let message = format!("more than {most} entries: list a smaller depth");
            return Err(Error::new(Code::ResourceExhausted, message));
        }
        if level < depth && found.permissions.starts_with('d') {
            walked.extend(vanished_is_none(Walked::begin(&found.path, level + 1))?);
        }
        entries.push(found);
    }
    Ok(entries)
}

type Found = (String, io::Result<EntryInfo>);

/// A directory on the way through its content.
struct Walked {
    level: u32,
    /// Without a slash at its end.
    path: String,
    names: IntoIter<String>,
    /// The next of them.
    batch: IntoIter<Found>,
}

impl Walked {
    fn begin(path: &str, level: u32) -> Result<Self, Error> {
        let names = read_names(path).map_err(|error| refusal(path, &error))?;
        let path = path.trim_end_matches('/').to_owned();
        Ok(Self { level, path, names: names.into_iter(), batch: Vec::new().into_iter() })
    }

    /// The next entry, or why it has none; `None` at the end.
    fn next(&mut self, names: &Names) -> Option<Found> {
        if let Some(found) = self.batch.next() {
            return Some(found);
        }
        let batch: Vec<String> = self.names.by_ref().take(BATCH).collect();
        self.batch = look(&self.path, &batch, names).into_iter();
        self.batch.next()
    }
}

/// Looks at a batch of a directory's entries, in their order.
fn look(parent: &str, batch: &[String], names: &Names) -> Vec<Found> {
    if batch.len() <= SHARE {
        return look_at(parent, batch, names);
    }
    let n_threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    let share = batch.len().div_ceil(n_threads).max(SHARE);
    let mut shares = batch.chunks(share);
    let first = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = shares.map(|share| (share, start(scope, parent, share, names))).collect();
        let mut found = look_at(parent, first, names);
        for (share, other) in others {
            // A sandbox at its limit of processes starts no thread; a panic of one is made good.
            let done = other.and_then(|thread| thread.join().ok());
            found.extend(done.unwrap_or_else(|| look_at(parent, share, names)));
        }
        found
    })
}

fn start<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    parent: &'scope str,
    share: &'scope [String],
    names: &'scope Names,
) -> Option<std::thread::ScopedJoinHandle<'scope, Vec<Found>>> {
    std::thread::Builder::new().spawn_scoped(scope, move || look_at(parent, share, names)).ok()
}

fn look_at(parent: &str, share: &[String], names: &Names) -> Vec<Found> {
    let root = if parent.is_empty() { "/" } else { parent };
    let dir = open(root, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let mut without = NoAttributes::default();
    let mut look = |name: &String| {
        let path = format!("{parent}/{name}");
        match &dir {
            Ok(dir) => (path.clone(), entry_in(dir, name, path, names, &mut without)),
            Err(errno) => (path, Err((*errno).into())),
        }
    };
    share.iter().map(&mut look).collect()
}

/// Names in a directory, in order.
fn read_names(path: &str) -> io::Result<Vec<String>> {
    let dir = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn vanished_is_none(begun: Result<Walked, Error>) -> Result<Option<Walked>, Error> {
    match begun {
        Err(error) if error.code == Code::NotFound => Ok(None),
        begun => begun.map(Some),
    }
}

fn refusal(path: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(Code::NotFound, format!("path not found: {path}")),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Error::new(Code::FailedPrecondition, format!("too many links: {path}"))
        }
        _ => Error::new(Code::Internal, format!("error reading directory {path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn directories_come_before_their_content_and_depth_ends_the_walk() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("b/c/d")).unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        fs::write(dir.path().join("b/x"), "").unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("b/up")).unwrap();
        let root = dir.path().to_string_lossy().into_owned();
        let told = |depth| -> Vec<String> {
            let entries = list(&root, depth, 99).unwrap();
            entries.iter().map(|e| e.path.strip_prefix(&root).unwrap().to_owned()).collect()
        };
        assert_eq!(told(1), ["/a", "/b"]);
        assert_eq!(told(2), ["/a", "/b", "/b/c", "/b/up", "/b/x"]);
        assert_eq!(told(9), ["/a", "/b", "/b/c", "/b/c/d", "/b/up", "/b/x"]);
        assert_eq!(list("/nope", 1, 99).unwrap_err().code, Code::NotFound);
        assert_eq!(list(&format!("{root}/a"), 1, 99).unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn many_entries_come_in_order_each_once_and_what_vanishes_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_string_lossy().into_owned();
        let n = 2 * BATCH + 3 * SHARE + 1;
        let expected: Vec<String> = (0..n).map(|i| format!("{i:06}")).collect();
        for name in &expected {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let told: Vec<String> = list(&root, 1, n).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(told, expected);
        assert_eq!(list(&root, 1, n - 1).unwrap_err().code, Code::ResourceExhausted);
        let with_one_gone = [expected[0].clone(), "gone".to_owned(), expected[1].clone()];
        let looked = look(&root, &with_one_gone, &Names::default());
        let kinds: Vec<_> = looked.iter().map(|(_, found)| found.as_ref().map_err(io::Error::kind)).collect();
        assert!(matches!(kinds[..], [Ok(_), Err(io::ErrorKind::NotFound), Ok(_)]), "{kinds:?}");
    }
}

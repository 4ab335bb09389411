//! The state directory: private, of a format we know, and one server's at a time.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// The layout of the directory. A newer one is refused: we would misread it.
const FORMAT: u32 = 1;

/// An open state directory; held until dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the directory if need be and takes it for this process.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        // It holds keys and every sandbox's files.
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .with_context(|| format!("close {} to others", path.display()))?;
        let path = fs::canonicalize(path).with_context(|| format!("resolve {}", path.display()))?;
        let lock = lock(&path)?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What [`StateDir::open`] would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Nothing; its parent is there and can be written.
    ToBeMade,
    /// A directory that no server has.
    Free,
    /// A directory that a server has now.
    InUse,
}

/// Looks, and makes nothing.
pub(crate) fn look(path: &Path) -> Result<Looked> {
    let existing = nearest(path);
    let meta = fs::metadata(existing).with_context(|| format!("look at {}", existing.display()))?;
    if !meta.is_dir() {
        bail!("{} is no directory", existing.display());
    }
    rustix::fs::access(existing, rustix::fs::Access::WRITE_OK)
        .with_context(|| format!("write in {}", existing.display()))?;
    if existing != path {
        return Ok(Looked::ToBeMade);
    }
    known_format(&path.join("format"))?;
    let Ok(lock) = File::open(path.join("lock")) else { return Ok(Looked::Free) };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Looked::InUse),
        _ => Ok(Looked::Free),
    }
}

/// The directory itself, or what it would be made in.
pub(crate) fn nearest(path: &Path) -> &Path {
    let existing = path.ancestors().find(|dir| !dir.as_os_str().is_empty() && dir.exists());
    existing.unwrap_or(Path::new(if path.is_absolute() { "/" } else { "." }))
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!(
                "{} belongs to a server that runs: end that one, or choose another with --state-dir",
                dir.display()
            )
        }
        Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

fn check_format(dir: &Path) -> Result<()> {
    let path = dir.join("format");
    if known_format(&path)? {
        return Ok(());
    }
    fs::write(&path, format!("{FORMAT}\n")).with_context(|| format!("write {}", path.display()))
}

/// Whether it is there; an error where it is not ours to read.
fn known_format(path: &Path) -> Result<bool> {
    let dir = path.parent().unwrap_or(path);
    match fs::read_to_string(path) {
        Ok(text) => {
            let found: u32 =
                text.trim().parse().with_context(|| format!("read the number in {}", path.display()))?;
            if found > FORMAT {
                bail!(
                    "{} has format {found}, this server knows {FORMAT}: use the newer server that wrote it",
                    dir.display()
                );
            }
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, Looked, StateDir, look};

    #[test]
    fn a_look_makes_nothing_and_sees_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert_eq!(look(&path).unwrap(), Looked::ToBeMade);
        assert!(!dir.path().join("a").exists());
        let held = StateDir::open(&path).unwrap();
        assert_eq!(look(&path).unwrap(), Looked::InUse);
        drop(held);
        assert_eq!(look(&path).unwrap(), Looked::Free);
        // A look lets go of what it tried.
        drop(StateDir::open(&path).unwrap());
    }

    #[test]
    fn a_directory_has_one_server_and_a_known_format() {
        let dir = tempfile::tempdir().unwrap();
        let held = StateDir::open(dir.path()).unwrap();
        assert!(StateDir::open(dir.path()).unwrap_err().to_string().contains("belongs to a server"));
        drop(held);
        drop(StateDir::open(dir.path()).unwrap());
        std::fs::write(dir.path().join("format"), (FORMAT + 1).to_string()).unwrap();
        assert!(StateDir::open(dir.path()).unwrap_err().to_string().contains("newer server"));
    }
}

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
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found: u32 =
                text.trim().parse().with_context(|| format!("read the number in {}", path.display()))?;
            if found > FORMAT {
                bail!(
                    "{} has format {found}, this server knows {FORMAT}: use the newer server that wrote it",
                    dir.display()
                );
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::write(&path, format!("{FORMAT}\n")).with_context(|| format!("write {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, StateDir};

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

//! What can go wrong with the storage of sandboxes.

use std::io;
use std::path::{Path, PathBuf};

use crate::ErrorKind;

/// A step on the state file system failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a step.
    #[error("{step} {}", path.display())]
    Step {
        /// The step in words, for example `making the subvolume`.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No kind of bounded storage can be had on this host.
    #[error("no bounded disk can be given to sandboxes: {}", reasons.join("; "))]
    Unavailable {
        /// For each kind that was tried: why not, and what to install or change.
        reasons: Vec<String>,
    },
    /// A program that makes a file system failed.
    #[error("{program} {} failed: {message}", path.display())]
    Program {
        /// Its name.
        program: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        message: String,
    },
}

impl Error {
    /// What it means for the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Step { source, .. } => match source.raw_os_error() {
                Some(libc_codes::ENOSPC | libc_codes::EDQUOT | libc_codes::EMFILE | libc_codes::ENFILE) => {
                    ErrorKind::Exhausted
                }
                Some(libc_codes::EPERM | libc_codes::EOPNOTSUPP | libc_codes::ENOTTY) => {
                    ErrorKind::Unsupported
                }
                _ => ErrorKind::Bug,
            },
            Self::Unavailable { .. } | Self::Program { .. } => ErrorKind::Unsupported,
        }
    }
}

/// The kernel's error numbers that mean something to callers.
mod libc_codes {
    use rustix::io::Errno;
    pub(super) const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
    pub(super) const EDQUOT: i32 = Errno::DQUOT.raw_os_error();
    pub(super) const EMFILE: i32 = Errno::MFILE.raw_os_error();
    pub(super) const ENFILE: i32 = Errno::NFILE.raw_os_error();
    pub(super) const EPERM: i32 = Errno::PERM.raw_os_error();
    pub(super) const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
    pub(super) const ENOTTY: i32 = Errno::NOTTY.raw_os_error();
}

/// Turns a plain error into one that names its step and path.
pub(super) fn at<E: Into<io::Error>>(step: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::Step { step, path, source: source.into() }
}

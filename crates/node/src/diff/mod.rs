//! What differs between two states that were written down: the files of one, and
//! of the other.
//!
//! Both are a stack of layers as an overlay shows it. Layers and directories that
//! both share are passed over unread, so the work is that of what was written, not
//! of what there is. `walk` decides over listings; `disk` reads them; nothing here
//! writes, and nothing follows a link.

mod compare;
mod disk;
mod merge;
#[cfg(test)]
mod model;
mod walk;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

pub(crate) use disk::Layers;
pub(crate) use walk::Bounds;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A file of bytes.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe with a name.
    Fifo,
    /// A socket's name.
    Socket,
    /// A device.
    Device,
}

/// What is told of a path on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// What it is.
    pub kind: FileKind,
    /// Bytes of a file or of a link's target; 0 of anything else.
    pub size: u64,
    /// Permissions, with the set-id and sticky bits.
    pub mode: u32,
    /// Its owner, as the sandbox sees it.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A path that differs. Times and attributes beside those of [`FileState`] are not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where, absolute.
    pub path: PathBuf,
    /// What the first state has there.
    pub before: Option<FileState>,
    /// What the second has.
    pub after: Option<FileState>,
}

/// A part of what differs, by path: each directory before what is in it, names by
/// their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiffPage {
    /// May be empty though more is to come: a page also ends when enough was looked at.
    pub differences: Vec<Difference>,
    /// Where to go on: after this path. `None` at the end.
    pub next: Option<PathBuf>,
}

/// Which part is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffRequest {
    /// Only what comes after this path; it need not exist.
    pub after: Option<PathBuf>,
    /// At most so many.
    pub limit: usize,
}

/// Why two states were not compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// Its names do not fit into what is kept at once.
    #[error("the directory {path:?} and those above it have more than {limit} names")]
    TooManyNames {
        /// Where.
        path: PathBuf,
        /// How many may be.
        limit: usize,
    },
    /// Nobody can name what is in there.
    #[error("what is in the directory {path:?} is deeper than a path can name")]
    TooDeep {
        /// Where; shortened.
        path: PathBuf,
    },
    /// Whoever asked has left.
    #[error("nobody waits for the comparison")]
    Abandoned,
    /// A layer cannot be read.
    #[error("reading {path:?}")]
    Disk {
        /// What, within its layer.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One page of what differs between two stacks of layers, the topmost first.
pub(crate) fn page(
    layers: &Layers,
    before: &[usize],
    after: &[usize],
    request: &DiffRequest,
    bounds: Bounds,
) -> Result<DiffPage, DiffError> {
    walk::page(layers, before, after, request, bounds)
}

/// A path within a tree, without its first slash: empty for the top.
fn below(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}

//! Trees of files that are copied without copying what they hold: both share it
//! until one of them is changed.

use std::fmt::Debug;
use std::io;
use std::path::Path;

/// A place for such trees. All of it blocks on files.
pub trait Trees: Debug + Send + Sync {
    /// Makes the tree `to`, which must not exist: empty, or a copy of the tree `from`.
    fn begin(&self, from: Option<&Path>, to: &Path) -> io::Result<()>;

    /// From now on nobody changes the tree. It can be renamed and removed.
    fn close(&self, tree: &Path) -> io::Result<()>;

    /// Removes a tree or a plain directory. Safe twice.
    fn remove(&self, tree: &Path) -> io::Result<()>;
}

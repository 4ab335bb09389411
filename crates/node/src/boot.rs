//! Whether the host was started anew since a node last opened its state directory.
//!
//! What was not yet written back then is lost: files that only describe processes, which
//! ended with the host, may be empty, or hold what stood there before them.

use std::path::{Path, PathBuf};

use crate::disk;

/// The start of the host that this is, beside the one that the directory knows.
#[derive(Debug)]
pub(crate) struct Boot {
    file: PathBuf,
    id: String,
    is_new: bool,
}

impl Boot {
    /// Looks. A directory that knows of none is taken for one of this start.
    pub(crate) fn look(state_dir: &Path) -> Result<Self, disk::Error> {
        let id = Path::new("/proc/sys/kernel/random/boot_id");
        let id = std::fs::read_to_string(id).map_err(disk::error("reading", id))?.trim().to_owned();
        let file = state_dir.join("boot");
        let is_new = disk::read_text(&file)?.is_some_and(|known| known.trim() != id);
        Ok(Self { file, id, is_new })
    }

    /// Whether the host was started since.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// From now on the directory knows this start.
    pub(crate) fn note(&self) -> Result<(), disk::Error> {
        if disk::read_text(&self.file)?.is_some_and(|known| known.trim() == self.id) {
            return Ok(());
        }
        std::fs::write(&self.file, &self.id).map_err(disk::error("writing", &self.file))?;
        disk::store(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_was_started_anew_is_known_until_that_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Boot::look(dir.path()).unwrap().is_new(), "nothing is known of an earlier one");
        Boot::look(dir.path()).unwrap().note().unwrap();
        assert!(!Boot::look(dir.path()).unwrap().is_new());
        for lost in ["another", ""] {
            std::fs::write(dir.path().join("boot"), lost).unwrap();
            assert!(Boot::look(dir.path()).unwrap().is_new(), "{lost:?}");
        }
        Boot::look(dir.path()).unwrap().note().unwrap();
        assert!(!Boot::look(dir.path()).unwrap().is_new());
    }
}

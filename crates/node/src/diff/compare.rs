//! Whether two files are the same, as far as can be said without their content.

use super::{FileKind, FileState};

/// What a layer tells of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) state: FileState,
    /// Which device it is, of one.
    pub(super) device: u64,
    /// Given by the file system to the file as it is since then: a layer that was
    /// copied from another keeps it for what was not written since.
    pub(super) version: Option<Version>,
}

/// Number and last change of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) inode: u64,
    pub(super) changed: (i64, i64),
    pub(super) modified: (i64, i64),
}

/// What is known from the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Differs,
    /// Their content decides.
    ByContent,
}

pub(super) fn compare(before: &Facts, after: &Facts) -> Verdict {
    if before.state != after.state || before.device != after.device {
        return Verdict::Differs;
    }
    match before.state.kind {
        FileKind::File | FileKind::Symlink => {
            if before.version.is_some() && before.version == after.version || before.state.size == 0 {
                Verdict::Same
            } else {
                Verdict::ByContent
            }
        }
        // What is in a directory is compared by itself.
        FileKind::Directory | FileKind::Fifo | FileKind::Socket | FileKind::Device => Verdict::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: FileKind, size: u64) -> Facts {
        let state = FileState { kind, size, mode: 0o644, uid: 0, gid: 0 };
        Facts { state, device: 0, version: None }
    }

    #[test]
    fn content_is_asked_for_only_where_it_decides() {
        let (file, link) = (facts(FileKind::File, 3), facts(FileKind::Symlink, 3));
        assert_eq!(compare(&file, &file), Verdict::ByContent);
        assert_eq!(compare(&link, &link), Verdict::ByContent);
        assert_eq!(compare(&file, &link), Verdict::Differs);
        assert_eq!(compare(&file, &facts(FileKind::File, 4)), Verdict::Differs);
        assert_eq!(compare(&facts(FileKind::File, 0), &facts(FileKind::File, 0)), Verdict::Same);
        let closed = Facts { state: FileState { mode: 0o600, ..file.state.clone() }, ..file.clone() };
        assert_eq!(compare(&file, &closed), Verdict::Differs);
        let disk = facts(FileKind::Device, 0);
        assert_eq!(compare(&disk, &disk), Verdict::Same);
        assert_eq!(compare(&disk, &Facts { device: 7, ..disk.clone() }), Verdict::Differs);
    }

    #[test]
    fn a_version_says_that_nothing_was_written_and_never_that_something_was() {
        let version = |inode| Some(Version { inode, changed: (1, 2), modified: (1, 1) });
        let file = |version| Facts { version, ..facts(FileKind::File, 3) };
        assert_eq!(compare(&file(version(1)), &file(version(1))), Verdict::Same);
        assert_eq!(compare(&file(version(1)), &file(version(2))), Verdict::ByContent);
        assert_eq!(compare(&file(None), &file(None)), Verdict::ByContent);
    }
}

//! How the files of a memory stand, without a look into them.
//!
//! The kernel notes with each change of a file when it was: the time of change
//! (`ctime`), which nobody can set. So files that were read once, and stand under
//! the same names, numbers, sizes and times as then, have the bytes that they had.
//! What the disk itself forgets is not seen this way.
//!
//! Those times move in ticks. A file that was changed in this tick could be changed
//! once more and look the same: such files are read only when the tick has passed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};

use super::{Error, Found, Manifest, walk};

/// How long a tick is waited for: the longest takes 10 ms.
const PATIENCE: u32 = 25;
const PAUSE: Duration = Duration::from_millis(1);

/// Which files a directory has and how each of them stands, together with what they
/// are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    look: [u8; 32],
    sums: [u8; 32],
}

/// A look at a directory.
pub(super) struct Look {
    pub(super) files: Vec<Found>,
    digest: [u8; 32],
    /// When the youngest of them was changed.
    newest: (i64, i64),
}

impl Look {
    pub(super) fn at(dir: &Path) -> Result<Self, Error> {
        let files = walk(dir)?;
        let mut hash = Sha256::new();
        let mut newest = (i64::MIN, 0);
        for Found { name, meta, .. } in &files {
            newest = newest.max((meta.ctime(), meta.ctime_nsec()));
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            for number in [meta.dev(), meta.ino(), meta.size()] {
                hash.update(number.to_le_bytes());
            }
            for time in [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()] {
                hash.update(time.to_le_bytes());
            }
        }
        Ok(Self { files, digest: hash.finalize().into(), newest })
    }

    /// Waits until a change from now on would show. False if it never would: the
    /// clock was set back.
    fn settles(&self) -> bool {
        let passed = || {
            let now = clock_gettime(ClockId::RealtimeCoarse);
            (now.tv_sec, now.tv_nsec) > self.newest
        };
        (0..PATIENCE).any(|_| {
            passed() || {
                thread::sleep(PAUSE);
                false
            }
        }) || passed()
    }
}

/// Runs `read` and says how the files stood meanwhile; nothing if they did not stand still.
pub(super) fn while_standing<T>(
    dir: &Path,
    read: impl FnOnce(&[Found]) -> Result<T, Error>,
) -> Result<(T, Option<[u8; 32]>), Error> {
    let before = Look::at(dir)?;
    let settled = before.settles();
    let done = read(&before.files)?;
    let stood = settled && Look::at(dir)?.digest == before.digest;
    Ok((done, stood.then_some(before.digest)))
}

impl Stamp {
    pub(super) fn new(look: [u8; 32], manifest: &Manifest) -> Self {
        let mut hash = Sha256::new();
        for (name, entry) in &manifest.files {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(entry.bytes.to_le_bytes());
            hash.update(&entry.sha256);
        }
        Self { look, sums: hash.finalize().into() }
    }
}

impl Manifest {
    /// The stamp of `dir` as it stands now. Reads no file.
    pub fn stamp(&self, dir: &Path) -> Result<Stamp, Error> {
        Ok(Stamp::new(Look::at(dir)?.digest, self))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    /// A memory, and its stamp after it was read.
    fn memory() -> (tempfile::TempDir, Manifest, Stamp) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        fs::write(dir.path().join("images/pages-1.img"), [7; 5000]).unwrap();
        fs::write(dir.path().join("images/core-1.img"), [1; 50]).unwrap();
        let (manifest, stamp) = Manifest::of_standing(dir.path()).unwrap();
        (dir, manifest, stamp.expect("nobody writes there"))
    }

    #[test]
    fn what_was_not_touched_keeps_its_stamp() {
        let (dir, manifest, stamp) = memory();
        assert_eq!(manifest.stamp(dir.path()).unwrap(), stamp);
        assert_eq!(manifest.verify(dir.path()).unwrap(), Some(stamp), "reading is no change");
        let mut other = manifest.clone();
        other.files.get_mut("images/core-1.img").unwrap().sha256.replace_range(..1, "x");
        assert_ne!(other.stamp(dir.path()).unwrap(), stamp, "files that are to be something else");
    }

    #[test]
    fn every_change_shows_also_at_once_and_with_the_times_set_back() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 6] = [
            ("a byte, at once", |images| {
                let path = images.join("pages-1.img");
                let times = times(&path);
                fs::write(&path, [8; 5000]).unwrap();
                File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
            }),
            ("touched", |images| {
                let path = images.join("core-1.img");
                let times = times(&path);
                File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
            }),
            ("replaced", |images| {
                let path = images.join("core-1.img");
                let times = times(&path);
                fs::write(images.join("other"), [2; 50]).unwrap();
                File::options().write(true).open(images.join("other")).unwrap().set_times(times).unwrap();
                fs::rename(images.join("other"), path).unwrap();
            }),
            ("foreign", |images| fs::write(images.join("other"), "").unwrap()),
            ("missing", |images| fs::remove_file(images.join("core-1.img")).unwrap()),
            ("renamed", |images| fs::rename(images.join("core-1.img"), images.join("core-2.img")).unwrap()),
        ];
        for (what, change) in changes {
            let (dir, manifest, stamp) = memory();
            change(&dir.path().join("images"));
            assert_ne!(manifest.stamp(dir.path()).unwrap(), stamp, "{what}");
        }
    }

    #[test]
    fn files_that_change_while_they_are_read_have_no_stamp() {
        let (dir, ..) = memory();
        let path = dir.path().join("images/core-1.img");
        let ((), stood) = while_standing(dir.path(), |_| {
            fs::write(&path, [1; 50]).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(stood, None);
        let ((), stood) = while_standing(dir.path(), |_| Ok(())).unwrap();
        assert!(stood.is_some());
    }

    fn times(path: &Path) -> fs::FileTimes {
        let meta = fs::metadata(path).unwrap();
        fs::FileTimes::new().set_modified(meta.modified().unwrap()).set_accessed(meta.accessed().unwrap())
    }
}

//! What a layer is, in two sums: one of its entries without their contents, which
//! is as fast as listing it, and one of everything.
//!
//! A layer was written by a stranger: names are taken one at a time in open
//! directories, links are not followed, depth, number and bytes are bounded.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// Deeper trees have no sums.
const DEEPEST: usize = 512;
/// Neither have larger ones,
const MOST_ENTRIES: u64 = 2_000_000;
/// nor those with more to read, holes not counted: blocks that files share are
/// read for each of them.
const MOST_BYTES: u64 = 64 << 30;

/// Contents are read in pieces of this size. Pieces of zeros are left out, so that
/// a hole and what was written as zeros are one.
const PIECE: usize = 64 << 10;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// At names, kinds, owners, modes, sizes, times and targets of links.
    Shape,
    /// At what files hold, too.
    Contents,
}

/// A layer in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outline {
    /// Names in it.
    pub(super) entries: u64,
    /// What its files hold, holes counted.
    pub(super) bytes: u64,
    /// The sum without contents.
    pub(super) shape: String,
    /// The sum with them, if they were looked at.
    pub(super) contents: Option<String>,
}

/// The outline of a layer; `None` if it is too large or too deep for one. Blocks on files.
pub(super) fn outline(layer: &Path, look: Look) -> io::Result<Option<Outline>> {
    let top = open_directory(CWD, layer.as_os_str())?;
    let mut walk = Walk {
        look,
        entries: 0,
        bytes: 0,
        left: MOST_BYTES,
        shape: Sum::default(),
        contents: Sum::default(),
    };
    let name = Sha256::digest(b"top").into();
    walk.entry(&rustix::fs::fstat(&top)?, name, b"");
    match walk.directory(top.as_fd(), name, 0) {
        Ok(()) => Ok(Some(Outline {
            entries: walk.entries,
            bytes: walk.bytes,
            shape: walk.shape.hex(),
            contents: (look == Look::Contents).then(|| walk.contents.hex()),
        })),
        Err(Stopped::Beyond) => Ok(None),
        Err(Stopped::Failed(e)) => Err(e),
    }
}

/// Hashes of entries, added up: the order in which a directory lists them is no matter.
#[derive(Debug, Default)]
struct Sum([u64; 4]);

impl Sum {
    fn add(&mut self, hash: [u8; 32]) {
        for (sum, part) in self.0.iter_mut().zip(hash.chunks_exact(8)) {
            *sum = sum.wrapping_add(u64::from_be_bytes(part.try_into().expect("a chunk has eight bytes")));
        }
    }

    fn hex(&self) -> String {
        hex(&self.0.map(u64::to_be_bytes).concat())
    }
}

enum Stopped {
    Beyond,
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Walk {
    look: Look,
    entries: u64,
    bytes: u64,
    /// How much may still be read.
    left: u64,
    shape: Sum,
    contents: Sum,
}

impl Walk {
    /// `path` is the hash of the names that lead here.
    fn directory(&mut self, dir: BorrowedFd<'_>, path: [u8; 32], depth: usize) -> Result<(), Stopped> {
        if depth > DEEPEST {
            return Err(Stopped::Beyond);
        }
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(Stopped::Beyond);
            }
            let path: [u8; 32] =
                Sha256::new().chain_update(path).chain_update(name.to_bytes()).finalize().into();
            self.name(dir, name, path, depth)?;
        }
        Ok(())
    }

    fn name(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: [u8; 32],
        depth: usize,
    ) -> Result<(), Stopped> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.entry(&stat, path, b"");
                let inner = open_directory(dir, OsStr::from_bytes(name.to_bytes()))?;
                self.directory(inner.as_fd(), path, depth + 1)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
                self.entry(&stat, path, target.to_bytes());
                Ok(())
            }
            FileType::RegularFile => {
                self.entry(&stat, path, b"");
                self.bytes = self.bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or_default());
                if self.look == Look::Contents {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
                    let held = self.content(&file)?;
                    self.contents.add(Sha256::new().chain_update(path).chain_update(held).finalize().into());
                }
                Ok(())
            }
            _ => {
                self.entry(&stat, path, b"");
                Ok(())
            }
        }
    }

    fn entry(&mut self, stat: &Stat, path: [u8; 32], target: &[u8]) {
        // What a directory's size is, is up to the file system.
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let size = if is_directory { 0 } else { stat.st_size };
        let mut hash = Sha256::new();
        hash.update(path);
        for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
            hash.update(number.to_be_bytes());
        }
        for number in [size, stat.st_mtime] {
            hash.update(number.to_be_bytes());
        }
        hash.update(stat.st_mtime_nsec.to_be_bytes());
        hash.update(stat.st_rdev.to_be_bytes());
        hash.update(target);
        let hash = hash.finalize().into();
        self.shape.add(hash);
        self.contents.add(hash);
    }

    fn content(&mut self, file: &File) -> Result<[u8; 32], Stopped> {
        let mut hash = Sha256::new();
        let mut piece = vec![0_u8; PIECE];
        let mut at = 0_u64;
        loop {
            at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(data) => data - data % PIECE as u64,
                // Nothing but a hole is left.
                Err(Errno::NXIO) => return Ok(hash.finalize().into()),
                Err(e) => return Err(e.into()),
            };
            self.left = self.left.checked_sub(PIECE as u64).ok_or(Stopped::Beyond)?;
            let n = read_piece(file, &mut piece, at)?;
            if piece[..n].iter().any(|byte| *byte != 0) {
                hash.update(at.to_be_bytes());
                hash.update(&piece[..n]);
            }
            at += PIECE as u64;
        }
    }
}

fn read_piece(file: &File, piece: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read_at(&mut piece[filled..], at + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn open_directory(at: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use super::*;

    fn of(dir: &Path, look: Look) -> Outline {
        outline(dir, look).unwrap().unwrap()
    }

    #[test]
    fn what_changes_changes_a_sum() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path();
        fs::create_dir(layer.join("d")).unwrap();
        fs::write(layer.join("d/file"), "one").unwrap();
        symlink("there", layer.join("link")).unwrap();
        let before = of(layer, Look::Contents);
        assert_eq!((before.entries, before.bytes), (3, 3));
        assert_eq!(of(layer, Look::Contents), before);
        assert_eq!(of(layer, Look::Shape).shape, before.shape);

        // The same size at the same time: only a look at the contents sees it.
        let path = layer.join("d/file");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let write = |content: &str, time: SystemTime| {
            fs::write(&path, content).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        write("two", time);
        let other = of(layer, Look::Contents);
        assert_eq!(other.shape, before.shape);
        assert_ne!(other.contents, before.contents);
        write("one", time + Duration::from_millis(1));
        assert_ne!(of(layer, Look::Shape).shape, before.shape, "its time");
        write("one", time);
        assert_eq!(of(layer, Look::Contents), before);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_ne!(of(layer, Look::Shape).shape, before.shape, "its mode");
        fs::remove_file(&path).unwrap();
        assert_ne!(of(layer, Look::Shape).shape, before.shape, "its name");
    }

    #[test]
    fn holes_are_not_read_and_are_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, zeros: bool| {
            let path = dir.path().join(name);
            let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
            file.set_len(1 << 40).unwrap();
            file.write_all_at(b"x", 5 << 30).unwrap();
            if zeros {
                file.write_all_at(&[0; 4096], 1 << 20).unwrap();
            }
            let mut walk = Walk {
                look: Look::Contents,
                entries: 0,
                bytes: 0,
                left: 10 * PIECE as u64,
                shape: Sum::default(),
                contents: Sum::default(),
            };
            walk.content(&file).ok().unwrap()
        };
        assert_eq!(write("a", false), write("b", true));
    }

    #[test]
    fn what_is_too_deep_has_no_outline() {
        let dir = tempfile::tempdir().unwrap();
        let mut path = dir.path().to_owned();
        for _ in 0..DEEPEST + 2 {
            path.push("d");
        }
        fs::create_dir_all(path).unwrap();
        assert_eq!(outline(dir.path(), Look::Shape).unwrap(), None);
    }
}

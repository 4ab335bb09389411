//! The layers of two states on the disk.
//!
//! They are immutable, and what is in them was written by a sandbox. Every path is
//! resolved by the kernel beneath its layer, without a link and without another
//! mount; files are opened only when their bytes are asked for, and never one that
//! could make us wait.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::compare::{Facts, Version};
use super::merge::{Entry, Layer, Listing};
use super::walk::Trees;
use super::{DiffError, FileKind, FileState};

/// Bytes that are read at once.
const PIECE: usize = 128 * 1024;

/// Bytes of both sides of a file that are compared; a longer one, or one that shares
/// its pieces a thousand times, counts as changed where that was not enough.
const MOST_BYTES: u64 = 4 << 30;

/// A file that was changed this shortly before it was copied may have been changed
/// again within the same tick of the file system's clock.
const TICK_SECONDS: i64 = 2;

/// The layers of both sides, by their numbers.
#[derive(Debug)]
pub(crate) struct Layers {
    layers: Vec<Opened>,
    /// When nobody waits any more.
    left: CancellationToken,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    top: OwnedFd,
    /// Set for what a sandbox wrote: until when its files' versions say all, in
    /// seconds since 1970.
    versions_until: Option<i64>,
}

impl Layers {
    pub(crate) fn new(left: CancellationToken) -> Self {
        Self { layers: Vec::new(), left }
    }

    /// The number of a layer; the same directory has the same. One that was kept
    /// at a moment (in seconds since 1970) shares files with others that were.
    pub(crate) fn number(&mut self, path: &Path, kept_at: Option<i64>) -> Result<Layer, DiffError> {
        if let Some(known) = self.layers.iter().position(|layer| layer.path == path) {
            return Ok(known);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(failed(path))?;
        let versions_until = kept_at.map(|at| at.saturating_sub(TICK_SECONDS));
        self.layers.push(Opened { path: path.to_owned(), top, versions_until });
        Ok(self.layers.len() - 1)
    }

    fn open(&self, layer: Layer, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let top = &self.layers.get(layer).ok_or(Errno::BADF)?.top;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(top, path, flags, Mode::empty(), resolve)
    }

    fn is_left(&self) -> Result<(), DiffError> {
        if self.left.is_cancelled() { Err(DiffError::Abandoned) } else { Ok(()) }
    }

    fn read_same(&self, path: &Path, before: Layer, after: Layer) -> Result<(bool, u64), DiffError> {
        let open = |layer| self.open(layer, path, OFlags::RDONLY | OFlags::NONBLOCK);
        let (before, after) = (open(before).map_err(failed(path))?, open(after).map_err(failed(path))?);
        let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
        let (mut at, mut bytes) = (0, 0);
        // Holes of both are passed over: a file may be longer than any disk.
        while let Some(next) = next_data(&before, &after, at).map_err(failed(path))? {
            self.is_left()?;
            if bytes >= MOST_BYTES {
                return Ok((false, bytes));
            }
            let read = read_at(&before, &mut one, next).map_err(failed(path))?;
            let beside = read_at(&after, &mut other, next).map_err(failed(path))?;
            bytes += (read + beside) as u64;
            if one.get(..read) != other.get(..beside) {
                return Ok((false, bytes));
            }
            if read == 0 {
                break;
            }
            at = next + read as u64;
        }
        Ok((true, bytes))
    }
}

impl Trees for Layers {
    fn list(&self, layer: Layer, dir: &Path) -> Result<Listing, DiffError> {
        self.is_left()?;
        let opened = self.open(layer, dir, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed(dir))?;
        list(opened.as_fd()).map_err(failed(dir))
    }

    fn facts(&self, layer: Layer, path: &Path) -> Result<Facts, DiffError> {
        self.is_left()?;
        let opened = self.open(layer, path, OFlags::PATH).map_err(failed(path))?;
        let stat = rustix::fs::fstat(&opened).map_err(failed(path))?;
        let kind = kind(FileType::from_raw_mode(stat.st_mode));
        let has_size = matches!(kind, FileKind::File | FileKind::Symlink);
        let state = FileState {
            kind,
            size: if has_size { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        };
        let until = self.layers.get(layer).and_then(|layer| layer.versions_until);
        let version = until.filter(|until| stat.st_ctime < *until).map(|_| Version {
            inode: stat.st_ino,
            changed: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
            modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        });
        Ok(Facts { state, device: if kind == FileKind::Device { stat.st_rdev } else { 0 }, version })
    }

    fn same_content(&self, path: &Path, before: Layer, after: Layer) -> Result<(bool, u64), DiffError> {
        let target = |layer| {
            let link = self.open(layer, path, OFlags::PATH)?;
            let stat = rustix::fs::fstat(&link)?;
            let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            is_link.then(|| rustix::fs::readlinkat(&link, "", Vec::new())).transpose()
        };
        let (one, other) = (target(before).map_err(failed(path))?, target(after).map_err(failed(path))?);
        match (one, other) {
            (Some(one), Some(other)) => {
                Ok((one == other, (one.as_bytes().len() + other.as_bytes().len()) as u64))
            }
            _ => self.read_same(path, before, after),
        }
    }
}

/// What one layer has in an open directory, and how it stands to those below.
fn list(dir: BorrowedFd<'_>) -> Result<Listing, Errno> {
    let mut mark = [0; 1];
    let opaque = match rustix::fs::fgetxattr(dir, "user.overlay.opaque", &mut mark[..]) {
        Ok(1) => Some(mark[0]),
        Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => None,
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = || rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let file_type = match entry.file_type() {
            FileType::Unknown => FileType::from_raw_mode(stat()?.st_mode),
            known => known,
        };
        let seen = match file_type {
            FileType::Directory => Entry::Directory,
            // A device of number 0 is no device: it takes a name away.
            FileType::CharacterDevice if stat()?.st_rdev == 0 => Entry::Whiteout,
            _ => Entry::Other,
        };
        names.push((name.to_bytes().to_vec(), seen));
    }
    Ok(Listing { opaque: opaque == Some(b'y'), names })
}

/// From where on one of two files has bytes; `None` when neither has.
fn next_data(one: &OwnedFd, other: &OwnedFd, at: u64) -> Result<Option<u64>, Errno> {
    let from = |file| match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(next) => Ok(Some(next)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that does not tell has no holes.
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(Some(at)),
        Err(e) => Err(e),
    };
    let (one, other) = (from(one)?, from(other)?);
    Ok(one.into_iter().chain(other).min())
}

/// Fills a buffer as far as the file goes.
fn read_at(file: &OwnedFd, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn kind(of: FileType) -> FileKind {
    match of {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice => FileKind::Device,
        FileType::RegularFile | FileType::Unknown => FileKind::File,
    }
}

fn failed(path: &Path) -> impl Fn(Errno) -> DiffError {
    move |errno| DiffError::Disk { path: path.to_owned(), source: io::Error::from(errno) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use rustix::fs::XattrFlags;

    use super::super::{Bounds, DiffPage, DiffRequest, page};
    use super::*;

    const BOUNDS: Bounds = Bounds { names: 1000, looks: 10_000, bytes: 1 << 30, path: 4000 };

    /// `upper` over `lower` beside `lower` alone, each path with what it was and is.
    fn changes(lower: &Path, upper: &Path) -> Vec<(String, Option<FileKind>, Option<FileKind>)> {
        let found = compared(lower, upper, None).differences.into_iter();
        let kind = |state: Option<FileState>| state.map(|state| state.kind);
        found.map(|d| (d.path.to_string_lossy().into_owned(), kind(d.before), kind(d.after))).collect()
    }

    fn compared(lower: &Path, upper: &Path, after: Option<PathBuf>) -> DiffPage {
        let mut layers = Layers::new(CancellationToken::new());
        let (below, above) = (layers.number(lower, None).unwrap(), layers.number(upper, None).unwrap());
        page(&layers, &[below], &[above, below], &DiffRequest { after, limit: 1000 }, BOUNDS).unwrap()
    }

    fn pair() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
        fs::create_dir(&lower).unwrap();
        fs::create_dir(&upper).unwrap();
        (dir, lower, upper)
    }

    #[test]
    fn names_are_bytes_and_links_are_not_followed() {
        let (outside, lower, upper) = pair();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        fs::create_dir(lower.join("dir")).unwrap();
        fs::write(lower.join("dir/file"), "1").unwrap();
        // A link where the other side has a directory: nothing is read through it.
        symlink(outside.path(), upper.join("dir")).unwrap();
        symlink("/etc/passwd", upper.join("link")).unwrap();
        fs::write(upper.join(OsStr::from_bytes(b"\xff\n")), "").unwrap();
        let found = compared(&lower, &upper, None);
        let paths: Vec<&[u8]> = found.differences.iter().map(|d| d.path.as_os_str().as_bytes()).collect();
        assert_eq!(paths, [&b"/dir"[..], b"/dir/file", b"/link", b"/\xff\n"]);
        let rest = compared(&lower, &upper, Some("/dir/file".into())).differences;
        assert_eq!(rest, found.differences[2..]);
        assert_eq!(found.differences[0].after.as_ref().map(|state| state.kind), Some(FileKind::Symlink));
        // The same link, then one of the same length.
        fs::remove_file(upper.join("dir")).unwrap();
        symlink("/etc/passwd", lower.join("link")).unwrap();
        assert!(changes(&lower, &upper).iter().all(|(path, ..)| path != "/link"));
        fs::remove_file(lower.join("link")).unwrap();
        symlink("/etc/groups", lower.join("link")).unwrap();
        let link = Some(FileKind::Symlink);
        assert!(changes(&lower, &upper).contains(&("/link".to_owned(), link, link)));
    }

    #[test]
    fn what_an_overlay_takes_away_is_gone() {
        let (_dir, lower, upper) = pair();
        for name in ["gone", "hidden", "kept"] {
            fs::create_dir(lower.join(name)).unwrap();
            fs::write(lower.join(name).join("file"), "1").unwrap();
        }
        for name in ["hidden", "kept"] {
            fs::create_dir(upper.join(name)).unwrap();
        }
        fs::write(upper.join("hidden/new"), "1").unwrap();
        let marked =
            rustix::fs::setxattr(upper.join("hidden"), "user.overlay.opaque", b"y", XattrFlags::empty());
        let whiteout =
            rustix::fs::mknodat(CWD, upper.join("gone"), FileType::CharacterDevice, Mode::empty(), 0);
        // Both need a file system and rights that a place for tests may lack.
        assert!(marked.is_ok() && whiteout.is_ok(), "{marked:?} {whiteout:?}");
        let (file, dir) = (Some(FileKind::File), Some(FileKind::Directory));
        let wanted = [
            ("/gone", dir, None),
            ("/gone/file", file, None),
            ("/hidden/file", file, None),
            ("/hidden/new", None, file),
        ];
        assert_eq!(changes(&lower, &upper), wanted.map(|(path, was, is)| (path.to_owned(), was, is)));
    }

    #[test]
    fn content_decides_and_holes_cost_nothing() {
        let (_dir, lower, upper) = pair();
        let long = |dir: &Path, name: &str, tail: &str| {
            let file = fs::File::create(dir.join(name)).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, tail.as_bytes(), 1 << 40).unwrap();
        };
        for (name, tail) in [("same", "one"), ("other", "two")] {
            long(&lower, name, "one");
            long(&upper, name, tail);
        }
        fs::write(lower.join("touched"), vec![7; 300_000]).unwrap();
        fs::write(upper.join("touched"), vec![7; 300_000]).unwrap();
        let mut late = vec![7; 300_000];
        fs::write(lower.join("late"), &late).unwrap();
        late[299_999] = 8;
        fs::write(upper.join("late"), &late).unwrap();
        let file = Some(FileKind::File);
        assert_eq!(changes(&lower, &upper), ["/late", "/other"].map(|path| (path.to_owned(), file, file)));
    }

    #[test]
    fn a_pipe_is_never_opened_and_an_old_version_is_believed() {
        let (_dir, lower, upper) = pair();
        for dir in [&lower, &upper] {
            rustix::fs::mknodat(CWD, dir.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        }
        assert_eq!(changes(&lower, &upper), []);
        fs::write(lower.join("file"), "1").unwrap();
        let mut layers = Layers::new(CancellationToken::new());
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let at_once = layers.number(&lower, Some(now)).unwrap();
        assert_eq!(layers.facts(at_once, Path::new("file")).unwrap().version, None, "it may change yet");
        let mut layers = Layers::new(CancellationToken::new());
        let later = layers.number(&lower, Some(now + 10)).unwrap();
        assert!(layers.facts(later, Path::new("file")).unwrap().version.is_some());
    }

    #[test]
    fn nothing_goes_on_for_nobody() {
        let (_dir, lower, upper) = pair();
        let left = CancellationToken::new();
        let mut layers = Layers::new(left.clone());
        let (one, other) = (layers.number(&lower, None).unwrap(), layers.number(&upper, None).unwrap());
        left.cancel();
        let request = DiffRequest { after: None, limit: 1 };
        assert!(matches!(page(&layers, &[one], &[other], &request, BOUNDS), Err(DiffError::Abandoned)));
    }
}

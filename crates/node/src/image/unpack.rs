//! Puts the layers of an image on top of one another into one directory.
//!
//! What later layers remove or replace is gone from the result, so a sandbox
//! mounts one layer, however many the image has. Owners, modes, times, links and
//! file capabilities are kept; devices are left out, since no sandbox could open
//! them; of other attributes only those that a user could set, without those
//! that would steer the overlay.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};

use super::archive::{Archive, Entry, Kind};
use super::plain::Plain;
use super::reference::Digest;
use super::tree::{Inner, Tree};

/// Ids above this are nobody's inside a sandbox.
const LAST_ID: u64 = 65_535;
/// Who owns what such ids owned.
const NOBODY: u32 = 65_534;

/// Before a name: that name is gone.
const WHITEOUT: &[u8] = b".wh.";
/// Before the names of an old union file system's own files.
const AUFS: &[u8] = b".wh..wh.";
/// In a directory: what lower layers put there is gone.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// How much an image may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes of its layers, unpacked.
    pub(crate) bytes: u64,
    /// Entries of its layers.
    pub(crate) entries: u64,
}

/// A layer was refused, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The layer's bytes are no archive.
    #[error("reading it")]
    Read(#[source] io::Error),
    /// An entry cannot be.
    #[error("{0}")]
    Refused(String),
    /// An entry could not be written.
    #[error("writing {path:?}")]
    Write {
        /// The entry.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nobody waits any more.
    #[error("nobody waits for it any more")]
    Stopped,
}

/// What was left out or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Omitted {
    /// Device nodes.
    pub(crate) devices: u64,
    /// Extended attributes.
    pub(crate) attributes: u64,
    /// Entries whose owners a sandbox cannot have.
    pub(crate) owners: u64,
}

/// Puts one layer, an archive in a file, into an empty directory, as a build does
/// with each layer of an image: for those who try it with bytes of strangers.
pub fn unpack_layer(blob: File, to: &Path, bytes: u64, entries: u64) -> Result<(), Failed> {
    let opened = Unpacker::new(to, Bounds { bytes, entries }, Arc::default());
    let failed = |source| Failed::Write { path: to.display().to_string(), source };
    opened.map_err(failed)?.layer(blob, None)
}

/// Reads a layer without unpacking it: whether it unpacks to what it should.
pub(super) fn prove_layer(
    blob: File,
    diff_id: &Digest,
    bounds: Bounds,
    stop: &AtomicBool,
) -> Result<(), Failed> {
    Plain::open(blob, bounds.bytes, true)?.prove(diff_id, stop)
}

/// An image on its way into a directory.
#[derive(Debug)]
pub(super) struct Unpacker {
    tree: Tree,
    bounds: Bounds,
    bytes: u64,
    entries: u64,
    omitted: Omitted,
    stop: Arc<AtomicBool>,
    /// Hashes of the paths that the present layer wrote, and of those above them.
    written: HashSet<u64>,
    hasher: RandomState,
    /// Directories of the present layer, to be dated when nothing is written any more.
    dated: Vec<(Inner, i64)>,
}

impl Unpacker {
    /// Into an empty directory, until `stop` is set.
    pub(super) fn new(dir: &Path, bounds: Bounds, stop: Arc<AtomicBool>) -> io::Result<Self> {
        Ok(Self {
            tree: Tree::open(dir)?,
            bounds,
            bytes: 0,
            entries: 0,
            omitted: Omitted::default(),
            stop,
            written: HashSet::new(),
            hasher: RandomState::new(),
            dated: Vec::new(),
        })
    }

    pub(super) fn omitted(&self) -> Omitted {
        self.omitted
    }

    /// Counts what the directory holds already towards the bounds.
    pub(super) fn count(&mut self, entries: u64, bytes: u64) {
        self.entries = self.entries.saturating_add(entries);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Puts one layer on top: a tar archive, plain or compressed by gzip or zstd. If it
    /// is known what it unpacks to, it is refused when that is something else.
    pub(super) fn layer(&mut self, blob: File, diff_id: Option<&Digest>) -> Result<(), Failed> {
        let left = self.bounds.bytes.saturating_sub(self.bytes);
        let mut plain = Plain::open(blob, left, diff_id.is_some())?;
        let mut archive = Archive::new(&mut plain);
        self.written.clear();
        while let Some(entry) = archive.next().map_err(Failed::Read)? {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failed::Stopped);
            }
            self.entries += 1;
            if self.entries > self.bounds.entries {
                return Err(Failed::Refused(format!(
                    "the image has more than {} entries",
                    self.bounds.entries
                )));
            }
            self.bytes = self.bytes.saturating_add(entry.size).saturating_add(512);
            self.entry(&mut archive, &entry)?;
        }
        for (path, mtime) in std::mem::take(&mut self.dated) {
            // A later entry may have replaced it.
            if let Ok(dir) = self.tree.directory(&path) {
                let _ = rustix::fs::utimensat(dir, ".", &times(mtime), AtFlags::empty());
            }
        }
        diff_id.map_or(Ok(()), |diff_id| plain.prove(diff_id, &self.stop))
    }

    fn entry<R: Read>(&mut self, archive: &mut Archive<R>, entry: &Entry) -> Result<(), Failed> {
        let path = Inner::new(&entry.path).map_err(Failed::Refused)?;
        let failed = |source| match source {
            Failing::Read(e) => Failed::Read(e),
            Failing::Write(source) => {
                let path = path.as_path().display().to_string().chars().take(200).collect();
                Failed::Write { path, source }
            }
        };
        let Some((above, name)) = path.split() else {
            return self.top(entry).map_err(|e| failed(e.into()));
        };
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(&above, name, hidden).map_err(|e| failed(e.into()));
        }
        if entry.kind == Kind::Device {
            self.omitted.devices += 1;
            return Ok(());
        }
        self.write(archive, entry, &path, &above, name).map_err(failed)?;
        self.mark(&path);
        Ok(())
    }

    /// Of the top itself only the owner and the mode can be said.
    fn top(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind != Kind::Directory {
            return Err(io::Error::other("the top of an image is a directory"));
        }
        let (uid, gid) = self.owner(entry);
        rustix::fs::fchown(self.tree.top(), Some(uid), Some(gid))?;
        Ok(rustix::fs::fchmod(self.tree.top(), Mode::from_raw_mode(entry.mode))?)
    }

    fn write<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry,
        path: &Inner,
        above: &Inner,
        name: &OsStr,
    ) -> Result<(), Failing> {
        let dir = self.tree.ensure_directory(above)?;
        let dir = dir.as_fd();
        let there = Tree::look(dir, name)?;
        if let Kind::Hardlink(to) = &entry.kind {
            return Ok(self.hardlink(to, dir, name, there.as_ref())?);
        }
        let is_directory = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let stays = entry.kind == Kind::Directory && there.as_ref().is_some_and(is_directory);
        if there.is_some() && !stays {
            self.tree.remove(dir, name)?;
        }
        match &entry.kind {
            Kind::Directory => {
                if !stays {
                    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)).map_err(io::Error::from)?;
                }
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
                let made = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(io::Error::from)?;
                self.describe(made.as_fd(), entry)?;
                self.dated.push((path.clone(), entry.mtime));
            }
            Kind::File => self.file(archive, entry, dir, name)?,
            Kind::Symlink(to) => {
                rustix::fs::symlinkat(OsStr::from_bytes(to), dir, name).map_err(io::Error::from)?;
                self.describe_unopened(dir, name, entry)?;
            }
            Kind::Fifo => {
                let mode = Mode::from_raw_mode(entry.mode);
                rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0).map_err(io::Error::from)?;
                self.describe_unopened(dir, name, entry)?;
            }
            Kind::Hardlink(_) | Kind::Device => {}
        }
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry,
        dir: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<(), Failing> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).map_err(io::Error::from)?;
        let mut file = File::from(file);
        let mut buffer = vec![0; usize::try_from(entry.size.clamp(1, 128 << 10)).unwrap_or(1)];
        loop {
            match archive.read(&mut buffer).map_err(Failing::Read)? {
                0 => break,
                n => file.write_all(&buffer[..n])?,
            }
        }
        self.describe(file.as_fd(), entry)?;
        Ok(rustix::fs::futimens(&file, &times(entry.mtime)).map_err(io::Error::from)?)
    }

    /// Another name of an earlier file, whose last name is not followed.
    fn hardlink(
        &mut self,
        to: &[u8],
        dir: BorrowedFd<'_>,
        name: &OsStr,
        there: Option<&Stat>,
    ) -> io::Result<()> {
        let to = Inner::new(to).map_err(io::Error::other)?;
        let (above, other) = to.split().ok_or_else(|| io::Error::other("a hard link to a directory"))?;
        let from = self.tree.directory(&above)?;
        let wanted = Tree::look(from.as_fd(), other)?.ok_or(io::ErrorKind::NotFound)?;
        if there.is_some_and(|there| there.st_ino == wanted.st_ino) {
            return Ok(());
        }
        if there.is_some() {
            self.tree.remove(dir, name)?;
        }
        Ok(rustix::fs::linkat(&from, other, dir, name, AtFlags::empty())?)
    }

    /// Owner, mode and attributes, in this order: a new owner clears the bits
    /// that give rights away, and capabilities.
    fn describe(&mut self, file: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
        let (uid, gid) = self.owner(entry);
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
        for (name, value) in &entry.attributes {
            if is_kept(name) {
                rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty())?;
            } else {
                self.omitted.attributes += 1;
            }
        }
        Ok(())
    }

    /// The same of what is not opened: links and pipes.
    fn describe_unopened(&mut self, dir: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> io::Result<()> {
        let (uid, gid) = self.owner(entry);
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn owner(&mut self, entry: &Entry) -> (Uid, Gid) {
        if entry.uid > LAST_ID || entry.gid > LAST_ID {
            self.omitted.owners += 1;
        }
        let id = |id: u64| u32::try_from(id).ok().filter(|id| u64::from(*id) <= LAST_ID).unwrap_or(NOBODY);
        (Uid::from_raw(id(entry.uid)), Gid::from_raw(id(entry.gid)))
    }

    /// Takes away what lower layers put there; what this layer put there stays.
    fn whiteout(&mut self, above: &Inner, name: &OsStr, hidden: &[u8]) -> io::Result<()> {
        let dir = match self.tree.directory(above) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if name.as_bytes() == OPAQUE {
            return self.clear(dir.as_fd(), above);
        }
        if name.as_bytes().starts_with(AUFS) {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(io::Error::other("a whiteout names no file"));
        }
        let hidden = OsStr::from_bytes(hidden);
        if self.is_written(&above.join(hidden)) { Ok(()) } else { self.tree.remove(dir.as_fd(), hidden) }
    }

    fn clear(&mut self, dir: BorrowedFd<'_>, path: &Inner) -> io::Result<()> {
        for name in Tree::names(dir)? {
            let inner = path.join(&name);
            if !self.is_written(&inner) {
                self.tree.remove(dir, &name)?;
                continue;
            }
            let stat = Tree::look(dir, &name)?;
            if stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
                let below = self.tree.directory(&inner)?;
                self.clear(below.as_fd(), &inner)?;
            }
        }
        Ok(())
    }

    fn mark(&mut self, path: &Inner) {
        for path in path.as_path().ancestors() {
            // Those above one that is known are known.
            if !self.written.insert(self.hasher.hash_one(path)) {
                break;
            }
        }
    }

    fn is_written(&self, path: &Inner) -> bool {
        self.written.contains(&self.hasher.hash_one(path.as_path()))
    }
}

/// On which side of a copy something failed.
enum Failing {
    Read(io::Error),
    Write(io::Error),
}

impl From<io::Error> for Failing {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Attributes that sandboxes see as the image says them. The overlay keeps its
/// own notes under `user.overlay.`.
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime, tv_nsec: 0 },
    }
}

//! Several layers become one that shows the same as all of them on top of one
//! another, whatever lies below: the lowest is put into an empty directory, then
//! each of the others on top of it.
//!
//! ```text
//!   below \ above   whiteout   directory        opaque directory   anything else
//!   nothing         hide       make             make, opaque       replace
//!   a directory     hide       enter            make, opaque       replace
//!   whiteout        hide       make, opaque     make, opaque       replace
//!   anything else   hide       make, opaque     make, opaque       replace
//! ```
//!
//! A mark that hides a name stands only in a directory that has another below it: the
//! overlay does not look for such marks in a directory of one layer, and lists them.
//! So it matters what the layers below the merged ones hold, but only their directories.
//!
//! What a layer holds was written by a stranger. Names are taken one at a time in
//! open directories and links are never followed; depth and number are bounded.
//! Files share their blocks with the originals where the file system can do that.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::error::{Error, at};

/// Deeper trees are not merged: each level holds two open directories.
const DEEPEST: usize = 256;
/// Directories of lower layers that are open at a time, at most.
const MOST_OPEN: usize = 4_000;
/// Larger layers are not merged.
const MOST_ENTRIES: u64 = 1_000_000;

/// Of a directory: nothing of lower layers shows through.
const OPAQUE: &CStr = c"user.overlay.opaque";
/// Notes of the overlay: of use only to the mount that made them.
const NOTES: &[u8] = b"user.overlay.";
/// Before a note that a program inside set itself.
const ESCAPED: &[u8] = b"user.overlay.overlay.";
/// Notes without which an entry means something else; no mount of ours makes them.
const STEERING: [&[u8]; 2] = [b"user.overlay.redirect", b"user.overlay.metacopy"];

/// What a merge has at a name so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Nothing,
    Whiteout,
    Directory,
    Other,
}

/// What the next layer has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Whiteout,
    Directory { opaque: bool },
    Other,
}

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// It is gone, also from layers below the merged one.
    Hide,
    /// It is what the upper layer has.
    Replace,
    /// It is a directory of the upper layer alone.
    Make { opaque: bool },
    /// The directory that is there takes what the upper one holds.
    Enter,
}

fn decide(below: Below, above: Above) -> Act {
    match (below, above) {
        (_, Above::Whiteout) => Act::Hide,
        (_, Above::Other) => Act::Replace,
        (Below::Directory, Above::Directory { opaque: false }) => Act::Enter,
        (Below::Nothing, Above::Directory { opaque }) => Act::Make { opaque },
        (_, Above::Directory { .. }) => Act::Make { opaque: true },
    }
}

/// Merges `layers`, topmost first, into the empty directory `to`; it will stand on
/// `below`, topmost first.
pub(super) fn merge(layers: &[PathBuf], below: &[PathBuf], to: &Path) -> Result<(), Error> {
    let top = open_directory(CWD, to.as_os_str()).map_err(at("opening", to))?;
    let mut lower = Vec::with_capacity(below.len());
    for path in below {
        lower.push(open_directory(CWD, path.as_os_str()).map_err(at("opening", path))?);
    }
    let mut entries = 0;
    for path in layers.iter().rev() {
        let layer = open_directory(CWD, path.as_os_str()).map_err(at("opening", path))?;
        let mut merging = Merging { top: top.as_fd(), linked: HashMap::new(), entries: &mut entries };
        merging
            .enter(layer.as_fd(), top.as_fd(), &lower, &mut PathBuf::new(), 0)
            .map_err(at("merging", path))?;
    }
    Ok(())
}

/// One layer on its way into the merged one.
struct Merging<'a> {
    top: BorrowedFd<'a>,
    /// First names of this layer's files that have several, by number.
    linked: HashMap<u64, PathBuf>,
    entries: &'a mut u64,
}

/// A directory of the layer, that of the merge, and those that show through it.
#[derive(Clone, Copy)]
struct Pair<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    lower: &'a [OwnedFd],
}

impl Merging<'_> {
    /// Puts what `from` holds into `to`, then makes `to` look like it. `lower` are the
    /// directories that show through `to`.
    fn enter(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        lower: &[OwnedFd],
        path: &mut PathBuf,
        depth: usize,
    ) -> io::Result<()> {
        if depth > DEEPEST || depth * lower.len() > MOST_OPEN {
            return Err(io::Error::other(format!("it is {depth} directories deep")));
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            *self.entries += 1;
            if *self.entries > MOST_ENTRIES {
                return Err(io::Error::other(format!("they hold more than {MOST_ENTRIES} entries")));
            }
            path.push(OsStr::from_bytes(name.to_bytes()));
            self.name(Pair { from, to, lower }, name, path, depth)?;
            path.pop();
        }
        let stat = rustix::fs::fstat(from)?;
        describe(from, to, &stat)?;
        Ok(rustix::fs::futimens(to, &times(&stat))?)
    }

    fn name(&mut self, pair: Pair<'_>, name: &CStr, path: &mut PathBuf, depth: usize) -> io::Result<()> {
        let Pair { from, to, lower } = pair;
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let file_name = OsStr::from_bytes(name.to_bytes());
        let inner = if is_directory { Some(open_directory(from, file_name)?) } else { None };
        let above = match &inner {
            Some(inner) => Above::Directory { opaque: is_opaque(inner.as_fd())? },
            None if is_whiteout(&stat) => Above::Whiteout,
            None => Above::Other,
        };
        let below = standing(to, name)?;
        let act = decide(below, above);
        if act != Act::Enter && below != Below::Nothing {
            remove(to, name, below)?;
        }
        match (act, inner) {
            // Nothing is below that it could hide.
            (Act::Hide, _) if lower.is_empty() => Ok(()),
            (Act::Hide, _) => Ok(rustix::fs::mknodat(to, name, FileType::CharacterDevice, Mode::empty(), 0)?),
            (Act::Make { .. } | Act::Enter, Some(inner)) => {
                if let Act::Make { opaque } = act {
                    rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                    if opaque {
                        let made = open_directory(to, file_name)?;
                        rustix::fs::fsetxattr(&made, OPAQUE, b"y", XattrFlags::empty())?;
                    }
                }
                let there = open_directory(to, file_name)?;
                let lower = if is_opaque(there.as_fd())? { Vec::new() } else { shown(lower, name)? };
                self.enter(inner.as_fd(), there.as_fd(), &lower, path, depth + 1)
            }
            _ => self.copy(from, to, name, &stat, path),
        }
    }

    /// Anything but a directory, at a name that is free.
    fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &Path,
    ) -> io::Result<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&stat.st_ino) {
                return link(self.top, first, to, name);
            }
            self.linked.insert(stat.st_ino, path.to_owned());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return copy_file(from, to, name, stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target.as_c_str(), to, name)?;
                own(to, name, stat)?;
            }
            kind => {
                rustix::fs::mknodat(to, name, kind, Mode::empty(), stat.st_rdev)?;
                own(to, name, stat)?;
                rustix::fs::chmodat(to, name, mode(stat), AtFlags::empty())?;
            }
        }
        Ok(rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn open_directory(at: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// The directories of this name that an overlay of `dirs`, topmost first, shows as one.
fn shown(dirs: &[OwnedFd], name: &CStr) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for dir in dirs {
        match standing(dir.as_fd(), name)? {
            Below::Nothing => {}
            Below::Whiteout | Below::Other => break,
            Below::Directory => {
                let inner = open_directory(dir, OsStr::from_bytes(name.to_bytes()))?;
                let opaque = is_opaque(inner.as_fd())?;
                found.push(inner);
                if opaque {
                    break;
                }
            }
        }
    }
    Ok(found)
}

fn standing(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Below> {
    let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Below::Nothing),
        other => other?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Below::Directory,
        _ if is_whiteout(&stat) => Below::Whiteout,
        _ => Below::Other,
    })
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// A directory whose note we do not know is left to the mount that does.
fn is_opaque(dir: BorrowedFd<'_>) -> io::Result<bool> {
    let mut value = [0_u8; 8];
    match rustix::fs::fgetxattr(dir, OPAQUE, &mut value[..]) {
        Ok(1) if value[0] == b'y' => Ok(true),
        Ok(_) => Err(io::Error::other("a directory has an unknown mark of the overlay")),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn remove(dir: BorrowedFd<'_>, name: &CStr, what: Below) -> io::Result<()> {
    if what == Below::Directory {
        // The directory is ours alone, and the last name is no link.
        let beside = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        return std::fs::remove_dir_all(beside.join(OsStr::from_bytes(name.to_bytes())));
    }
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

fn link(top: BorrowedFd<'_>, first: &Path, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let above = first.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let dir = rustix::fs::openat2(top, above, flags, Mode::empty(), resolve)?;
    let first = first.file_name().unwrap_or_default();
    Ok(rustix::fs::linkat(dir, first, to, name, AtFlags::empty())?)
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = File::from(rustix::fs::openat(from, name, read, Mode::empty())?);
    let write = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let target = File::from(rustix::fs::openat(to, name, write, Mode::from_raw_mode(0o600))?);
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        target.set_len(u64::try_from(stat.st_size).unwrap_or_default())?;
        super::ext4::copy_extents(&source, &target)?;
    }
    describe(source.as_fd(), target.as_fd(), stat)?;
    Ok(rustix::fs::futimens(&target, &times(stat))?)
}

/// Owner, mode and attributes, in this order: a new owner clears the bits that
/// give rights away, and capabilities.
fn describe(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, mode(stat))?;
    let kept = attributes(from)?;
    for name in attributes(to)? {
        // A directory that was there takes the upper one's attributes, not both; its mark stays.
        if !kept.contains(&name) && name.as_c_str() != OPAQUE {
            rustix::fs::fremovexattr(to, name.as_c_str())?;
        }
    }
    let mut value = vec![0_u8; 64 << 10];
    for name in kept.iter().filter(|name| is_kept(name.to_bytes())) {
        let len = rustix::fs::fgetxattr(from, name.as_c_str(), &mut value[..])?;
        rustix::fs::fsetxattr(to, name.as_c_str(), &value[..len], XattrFlags::empty())?;
    }
    if let Some(steering) = kept.iter().find(|name| STEERING.contains(&name.to_bytes())) {
        return Err(io::Error::other(format!("an entry has the attribute {}", steering.to_string_lossy())));
    }
    Ok(())
}

fn is_kept(name: &[u8]) -> bool {
    !name.starts_with(NOTES) || name.starts_with(ESCAPED)
}

fn attributes(file: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = vec![0_u8; 64 << 10];
    let len = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

/// Of what is not opened: links, pipes, devices.
fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

#[expect(clippy::cast_possible_wrap, reason = "the kernel's nanoseconds are below 10^9, whatever their type")]
fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as i64 },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 },
    }
}

#[cfg(test)]
mod tests;

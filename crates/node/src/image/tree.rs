//! A directory that is filled on the word of strangers and never left.
//!
//! Every path is resolved by the kernel with the directory as its root
//! (`RESOLVE_IN_ROOT`): absolute links and `..` lead within it, mounts and magic
//! links nowhere. The last name of a path is never followed. Nobody else writes
//! here while it is filled.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Deepest directory, links followed: trees are removed by a recursive walk.
const DEEPEST: usize = 256;

/// A path within the tree: no `..`, no leading slash. Empty for the top.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Inner(PathBuf);

impl Inner {
    /// Takes `.` and `..` out by the letter; a path that climbs out is refused.
    pub(super) fn new(path: &[u8]) -> Result<Self, String> {
        let shown = || String::from_utf8_lossy(path).chars().take(200).collect::<String>();
        if path.contains(&0) {
            return Err(format!("the path {:?} has a zero byte", shown()));
        }
        let mut inner = PathBuf::new();
        let mut depth = 0_usize;
        for component in Path::new(OsStr::from_bytes(path)).components() {
            match component {
                Component::Normal(name) => {
                    inner.push(name);
                    depth += 1;
                }
                Component::ParentDir if inner.pop() => depth -= 1,
                Component::ParentDir => {
                    return Err(format!("the path {:?} climbs out of the image", shown()));
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if depth > DEEPEST {
            return Err(format!("the path {:?} is deeper than {DEEPEST} directories", shown()));
        }
        Ok(Self(inner))
    }

    /// The directory above and the last name; `None` for the top.
    pub(super) fn split(&self) -> Option<(Self, &OsStr)> {
        let name = self.0.file_name()?;
        Some((Self(self.0.parent().map(Path::to_owned).unwrap_or_default()), name))
    }

    pub(super) fn join(&self, name: &OsStr) -> Self {
        Self(self.0.join(name))
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }
}

/// The top of the tree, with the directory that was asked for last.
#[derive(Debug)]
pub(super) struct Tree {
    top: OwnedFd,
    last: Option<(Inner, OwnedFd)>,
}

impl Tree {
    pub(super) fn open(top: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Self { top: rustix::fs::openat(CWD, top, flags, Mode::empty())?, last: None })
    }

    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// A directory that is there.
    pub(super) fn directory(&self, path: &Inner) -> io::Result<OwnedFd> {
        let path = if path.0.as_os_str().is_empty() { Path::new(".") } else { &path.0 };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let dir = rustix::fs::openat2(&self.top, path, flags, Mode::empty(), resolve)?;
        let seen = rustix::fs::readlink(format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new())?;
        // Links may lead deeper than the path is long.
        if seen.as_bytes().split(|byte| *byte == b'/').count() > DEEPEST * 2 {
            return Err(io::Error::other(format!("it is deeper than {DEEPEST} directories")));
        }
        Ok(dir)
    }

    /// A directory, made with those above it where they are missing: root's, and
    /// open to everybody for reading.
    pub(super) fn ensure_directory(&mut self, path: &Inner) -> io::Result<OwnedFd> {
        if let Some((last, dir)) = &self.last
            && last == path
        {
            return dir.try_clone();
        }
        let dir = self.ensure_uncached(path)?;
        self.last = Some((path.clone(), dir.try_clone()?));
        Ok(dir)
    }

    fn ensure_uncached(&self, path: &Inner) -> io::Result<OwnedFd> {
        match self.directory(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let Some((above, name)) = path.split() else { return self.directory(path) };
        let dir = self.ensure_uncached(&above)?;
        // A link that leads nowhere is in the way, and stays: the second look fails.
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Err(e) if e != Errno::EXIST => return Err(e.into()),
            _ => {}
        }
        self.directory(path)
    }

    /// What a name is; links are not followed.
    pub(super) fn look(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes whatever has this name.
    pub(super) fn remove(&mut self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        // What was found before may be what goes.
        self.last = None;
        match Self::look(dir, name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            None => Ok(()),
            Some(FileType::Directory) => std::fs::remove_dir_all(beside(dir, name)),
            Some(_) => Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?),
        }
    }

    /// The names in a directory.
    pub(super) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<std::ffi::OsString>> {
        let list = std::fs::read_dir(beside(dir, OsStr::new(".")))?;
        list.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }
}

/// A path to a name in an open directory. Only its last name can be a link, and
/// neither of the callers follows that.
fn beside(dir: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_are_taken_out_and_nothing_climbs() {
        let inner = |text: &str| Inner::new(text.as_bytes()).map(|inner| inner.0.display().to_string());
        assert_eq!(inner("./a//b/../c/.").unwrap(), "a/c");
        assert_eq!(inner("/etc/passwd").unwrap(), "etc/passwd");
        assert_eq!(inner("./").unwrap(), "");
        for bad in ["..", "a/../../b", "/..", "a\0b", &"d/".repeat(257)] {
            assert!(inner(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_lead_within_the_tree() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc", dir.path().join("climbs")).unwrap();
        std::os::unix::fs::symlink("/proc/self/fd/3", dir.path().join("magic")).unwrap();
        let mut tree = Tree::open(dir.path()).unwrap();
        for path in ["absolute/x", "climbs/x", "magic/x"] {
            assert!(tree.ensure_directory(&Inner::new(path.as_bytes()).unwrap()).is_err(), "{path}");
        }
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        tree.ensure_directory(&Inner::new(b"climbs/x").unwrap()).unwrap();
        assert!(dir.path().join("etc/x").is_dir());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn an_inner_path_stays_inside(path in "[a./]{0,30}") {
            if let Ok(inner) = Inner::new(path.as_bytes()) {
                prop_assert!(inner.0.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}

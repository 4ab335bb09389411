//! One file, directory or link as [`EntryInfo`] tells it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType as Kind, Mode, Stat, stat, statat};
use rustix::io::Errno;
use wire::files::METADATA_XATTR_PREFIX;
use wire::filesystem::{EntryInfo, FileType, Timestamp};

use super::path::base_name;
use crate::user::Names;

/// Longest list of attribute names and longest value that are read; the kernel's limits.
const MAX_XATTR: usize = 64 << 10;

/// What is at `path`, which is not followed if it is a link.
pub(crate) fn entry(path: &str, names: &Names) -> io::Result<EntryInfo> {
    entry_in(CWD, path, path.to_owned(), names, &mut NoAttributes::default())
}

/// The same of `name` in an open directory, whose path is `path`: the kernel then
/// walks one name and not all of them.
pub(super) fn entry_in(
    dir: impl AsFd,
    name: &str,
    path: String,
    names: &Names,
    without: &mut NoAttributes,
) -> io::Result<EntryInfo> {
    let own = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = Kind::from_raw_mode(own.st_mode);
    // A link counts as what it leads to; a broken one as nothing.
    let target = if kind == Kind::Symlink { stat(&path).ok() } else { Some(own) };
    let seconds_part = u32::try_from(own.st_mtime_nsec).unwrap_or_default();
    Ok(EntryInfo {
        name: base_name(&path).to_owned(),
        file_type: target.as_ref().map_or(FileType::Unspecified, file_type),
        size: own.st_size,
        mode: target.map_or(0, |target| target.st_mode & 0o777),
        permissions: permissions(own.st_mode),
        owner: names.user(own.st_uid),
        group: names.group(own.st_gid),
        modified_time: Some(Timestamp::new(own.st_mtime, seconds_part)),
        symlink_target: (kind == Kind::Symlink).then(|| link_target(&path)),
        metadata: target.map_or_else(BTreeMap::new, |target| without.metadata(&path, &target)),
        path,
    })
}

/// Remembers the file system on which there are no attributes, the last one seen.
#[derive(Debug, Default)]
pub(super) struct NoAttributes(Option<u64>);

impl NoAttributes {
    /// What callers attached to the file, if it can have anything attached at all.
    fn metadata(&mut self, path: &str, about: &Stat) -> BTreeMap<String, String> {
        // The kernel keeps `user.*` for files and directories.
        let can = matches!(Kind::from_raw_mode(about.st_mode), Kind::RegularFile | Kind::Directory);
        if !can || self.0 == Some(about.st_dev) {
            return BTreeMap::new();
        }
        read_metadata(path.as_ref()).unwrap_or_else(|errno| {
            if errno == Errno::OPNOTSUPP {
                self.0 = Some(about.st_dev);
            }
            BTreeMap::new()
        })
    }
}

fn file_type(about: &Stat) -> FileType {
    match Kind::from_raw_mode(about.st_mode) {
        Kind::Directory => FileType::Directory,
        Kind::RegularFile => FileType::File,
        _ => FileType::Unspecified,
    }
}

/// The end of the chain, or the link itself if it leads nowhere.
fn link_target(path: &str) -> String {
    fs::canonicalize(path).map_or_else(|_| path.to_owned(), |target| target.to_string_lossy().into_owned())
}

/// Letters as Go's `FileMode` prints them, which is not `ls`'s way.
fn permissions(mode: u32) -> String {
    let kind = Kind::from_raw_mode(mode);
    let bits = Mode::from_raw_mode(mode);
    let letters = [
        (kind == Kind::Directory, 'd'),
        (kind == Kind::Symlink, 'L'),
        (matches!(kind, Kind::CharacterDevice | Kind::BlockDevice), 'D'),
        (kind == Kind::Fifo, 'p'),
        (kind == Kind::Socket, 'S'),
        (bits.contains(Mode::SUID), 'u'),
        (bits.contains(Mode::SGID), 'g'),
        (kind == Kind::CharacterDevice, 'c'),
        (bits.contains(Mode::SVTX), 't'),
    ];
    // Nearly always one letter and nine.
    let mut text = String::with_capacity(12);
    text.extend(letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter));
    if text.is_empty() {
        text.push('-');
    }
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    text.extend(bits.map(|(bit, letter)| if mode & (1 << bit) == 0 { '-' } else { letter }));
    text
}

/// What callers attached to the file; follows links. Best effort: a file system
/// without attributes has none.
pub(crate) fn metadata(path: impl AsRef<Path>) -> BTreeMap<String, String> {
    read_metadata(path.as_ref()).unwrap_or_default()
}

fn read_metadata(path: &Path) -> rustix::io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    // Nearly no file has attributes: ask for their size before making room for them.
    if !(1..=MAX_XATTR).contains(&rustix::fs::listxattr_query(path)?) {
        return Ok(found);
    }
    let mut names = vec![0u8; MAX_XATTR];
    let n = rustix::fs::listxattr(path, &mut names[..]).unwrap_or(0);
    for name in names[..n].split(|byte| *byte == 0) {
        let Some(name) = std::str::from_utf8(name).ok().filter(|n| n.starts_with(METADATA_XATTR_PREFIX))
        else {
            continue;
        };
        let mut value = vec![0u8; MAX_XATTR];
        if let Ok(n) = rustix::fs::getxattr(path, name, &mut value[..])
            && let Ok(value) = std::str::from_utf8(&value[..n])
        {
            found.insert(name[METADATA_XATTR_PREFIX.len()..].to_owned(), value.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_count_as_their_target() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        fs::write(at("file"), "hello").unwrap();
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o4640)).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink("nowhere", at("broken")).unwrap();
        let names = Names::read();

        let file = entry(&at("file"), &names).unwrap();
        assert_eq!((file.permissions.as_str(), file.mode, file.size), ("urw-r-----", 0o640, 5));
        let link = entry(&at("link"), &names).unwrap();
        assert_eq!(
            (link.file_type, link.mode, link.permissions.as_str()),
            (FileType::File, 0o640, "Lrwxrwxrwx")
        );
        assert!(link.symlink_target.unwrap().ends_with("/file"));
        let broken = entry(&at("broken"), &names).unwrap();
        assert_eq!((broken.file_type, broken.mode), (FileType::Unspecified, 0));
        assert_eq!(broken.symlink_target, Some(at("broken")));
        assert!(entry(&at("none"), &names).is_err());
    }

    #[test]
    fn gos_letters() {
        let letters = |path: &str| permissions(rustix::fs::lstat(path).unwrap().st_mode);
        assert_eq!(letters("/dev/null"), "Dcrw-rw-rw-");
        assert_eq!(letters("/tmp"), "dtrwxrwxrwx");
    }
}

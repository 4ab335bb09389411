//! One file, directory or link as [`EntryInfo`] tells it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use wire::files::METADATA_XATTR_PREFIX;
use wire::filesystem::{EntryInfo, FileType, Timestamp};

use super::path::base_name;
use crate::user::Names;

/// Longest list of attribute names and longest value that are read; the kernel's limits.
const MAX_XATTR: usize = 64 << 10;

/// What is at `path`, which is not followed if it is a link.
pub(crate) fn entry(path: &str, names: &Names) -> io::Result<EntryInfo> {
    let own = fs::symlink_metadata(path)?;
    let is_link = own.file_type().is_symlink();
    // A link counts as what it leads to; a broken one as nothing.
    let target = if is_link { fs::metadata(path).ok() } else { Some(own.clone()) };
    Ok(EntryInfo {
        name: base_name(path).to_owned(),
        file_type: target.as_ref().map_or(FileType::Unspecified, file_type),
        path: path.to_owned(),
        size: own.size().cast_signed(),
        mode: target.map_or(0, |target| target.mode() & 0o777),
        permissions: permissions(&own),
        owner: names.user(own.uid()),
        group: names.group(own.gid()),
        modified_time: Some(Timestamp::new(own.mtime(), u32::try_from(own.mtime_nsec()).unwrap_or_default())),
        symlink_target: is_link.then(|| link_target(path)),
        metadata: metadata(path),
    })
}

fn file_type(metadata: &Metadata) -> FileType {
    match metadata {
        m if m.is_dir() => FileType::Directory,
        m if m.is_file() => FileType::File,
        _ => FileType::Unspecified,
    }
}

/// The end of the chain, or the link itself if it leads nowhere.
fn link_target(path: &str) -> String {
    fs::canonicalize(path).map_or_else(|_| path.to_owned(), |target| target.to_string_lossy().into_owned())
}

/// Letters as Go's `FileMode` prints them, which is not `ls`'s way.
fn permissions(metadata: &Metadata) -> String {
    let mode = metadata.mode();
    let kind = metadata.file_type();
    let device = kind.is_char_device() || kind.is_block_device();
    let letters = [
        (kind.is_dir(), 'd'),
        (kind.is_symlink(), 'L'),
        (device, 'D'),
        (kind.is_fifo(), 'p'),
        (kind.is_socket(), 'S'),
        (mode & 0o4000 != 0, 'u'),
        (mode & 0o2000 != 0, 'g'),
        (kind.is_char_device(), 'c'),
        (mode & 0o1000 != 0, 't'),
    ];
    let mut text: String = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
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
    let path = path.as_ref();
    let mut found = BTreeMap::new();
    // Nearly no file has attributes: ask for their size before making room for them.
    match rustix::fs::listxattr_query(path) {
        Ok(n) if n > 0 && n <= MAX_XATTR => {}
        _ => return found,
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
    found
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
        let letters = |path: &str| permissions(&fs::symlink_metadata(path).unwrap());
        assert_eq!(letters("/dev/null"), "Dcrw-rw-rw-");
        assert_eq!(letters("/tmp"), "dtrwxrwxrwx");
    }
}

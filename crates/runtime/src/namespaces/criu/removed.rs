//! Directories that were removed while somebody stands in them.
//!
//! The tool makes such a one again under the name that it had, lets the process in
//! and removes it. Where the name was given to something else meanwhile (`rm -r build;
//! mkdir build` with a shell inside), it cannot be read back; and an empty directory
//! of that name would be removed. The directories on the way there may be gone, too.
//! So in the images each gets a name that is nobody's, at the top of its file system.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use super::entries::{all, broken, first, image, read};
use super::proto::{Message, Value};

/// `RemapFilePathEntry`: which file, what stands for it, and how.
const ORIGINAL: u32 = 1;
const REMAPPED: u32 = 2;
const KIND: u32 = 3;
const GHOST: u64 = 1;
/// `GhostFileEntry`, which is no longer than this.
const MODE: u32 = 3;
const ENTRY: u64 = 64 << 10;
/// `FileEntry`: its number, and what it is as a file with a name.
const ID: u32 = 2;
const REGULAR: u32 = 3;
/// `RegFileEntry`.
const NAME: u32 = 6;
/// A signed number, so twice what it says.
const MOUNT: u32 = 7;
/// `MntEntry`.
const MOUNT_ID: u32 = 2;
const MOUNT_POINT: u32 = 7;

/// Renames them in the images, which nobody has read yet.
pub(in crate::namespaces) fn set_removed_aside(images: &Path) -> io::Result<()> {
    let remaps = match read(&images.join("remap-fpath.img")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        remaps => all(&remaps?)?.1,
    };
    let mut directories = BTreeMap::new();
    for remap in remaps {
        let (Some(original), Some(ghost)) = (remap.number(ORIGINAL), remap.number(REMAPPED)) else {
            continue;
        };
        if remap.number(KIND) == Some(GHOST) && is_directory(images, ghost)? {
            directories.insert(original, ghost);
        }
    }
    if directories.is_empty() {
        return Ok(());
    }
    let path = images.join("files.img");
    fs::write(&path, renamed(&read(&path)?, &directories, &mount_points(images)?)?)
}

/// Where each file system stands, by its number.
fn mount_points(images: &Path) -> io::Result<BTreeMap<u64, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(images)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("mountpoints-") {
            continue;
        }
        for mount in all(&read(&entry.path())?)?.1 {
            if let (Some(id), Some(Value::Bytes(point))) = (mount.number(MOUNT_ID), mount.get(MOUNT_POINT)) {
                found.insert(id, point.clone());
            }
        }
    }
    Ok(found)
}

fn is_directory(images: &Path, ghost: u64) -> io::Result<bool> {
    const FORMAT: u64 = 0o170_000;
    const DIRECTORY: u64 = 0o040_000;
    // The content of an ordinary file follows its entry, and is not read.
    let mut image = Vec::new();
    fs::File::open(images.join(format!("ghost-file-{ghost:x}.img")))?.take(ENTRY).read_to_end(&mut image)?;
    let mode = first(&image)?.number(MODE).unwrap_or(0);
    Ok(mode & FORMAT == DIRECTORY)
}

fn renamed(
    bytes: &[u8],
    directories: &BTreeMap<u64, u64>,
    mount_points: &BTreeMap<u64, Vec<u8>>,
) -> io::Result<Vec<u8>> {
    let (magic, mut files) = all(bytes)?;
    for file in &mut files {
        let Some(ghost) = file.number(ID).and_then(|id| directories.get(&id)) else { continue };
        for (field, value) in &mut file.0 {
            if let Value::Bytes(regular) = value
                && *field == REGULAR
            {
                let mut parsed = Message::parse(regular)?;
                let mount = parsed.number(MOUNT).and_then(|id| mount_points.get(&(id >> 1)));
                let mount = mount.ok_or_else(broken)?;
                for (field, value) in &mut parsed.0 {
                    if let Value::Bytes(name) = value
                        && *field == NAME
                    {
                        *name = aside(mount, *ghost);
                    }
                }
                *regular = parsed.to_bytes();
            }
        }
    }
    image(magic, &files)
}

/// A name at the top of a file system. The tool writes `./run` for `/run`.
fn aside(mount: &[u8], ghost: u64) -> Vec<u8> {
    let place = mount.strip_prefix(b".").unwrap_or(mount);
    let place = place.strip_suffix(b"/").unwrap_or(place);
    [place, format!("/.removed-{ghost:x}").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = [9; 8];

    fn image(entries: &[Message]) -> Vec<u8> {
        super::image(&MAGIC, entries).unwrap()
    }

    fn file(id: u64, name: &str) -> Message {
        let mount = if name.starts_with("/run") { 602 } else { 600 };
        let regular = Message::default().with(1, id).with_bytes(NAME, name.as_bytes()).with(MOUNT, mount);
        Message::default().with(1, 1).with(ID, id).with_bytes(REGULAR, &regular.to_bytes())
    }

    fn remap(file: u64, ghost: u64) -> Message {
        Message::default().with(ORIGINAL, file).with(REMAPPED, ghost).with(KIND, GHOST)
    }

    #[test]
    fn a_removed_directory_gets_a_name_of_its_own_and_a_removed_file_keeps_its() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        let files = [file(34, "/tmp/file"), file(35, "/tmp/w"), file(36, "/tmp/w"), file(37, "/run/w")];
        let mount =
            |id, point: &str| Message::default().with(MOUNT_ID, id).with_bytes(MOUNT_POINT, point.as_bytes());
        write("mountpoints-14.img", &image(&[mount(300, "./"), mount(301, "./run")]));
        write("files.img", &image(&files));
        set_removed_aside(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("files.img")).unwrap(), image(&files), "nothing was removed");
        write("remap-fpath.img", &image(&[remap(34, 1), remap(35, 0x1f), remap(37, 0x1f)]));
        let ghost = |mode: u64| image(&[Message::default().with(1, 1000).with(2, 1000).with(MODE, mode)]);
        write("ghost-file-1.img", &[ghost(0o100_644), b"its content".to_vec()].concat());
        write("ghost-file-1f.img", &ghost(0o040_755));
        set_removed_aside(dir.path()).unwrap();
        let (top, run) = ("/.removed-1f", "/run/.removed-1f");
        let wanted = [file(34, "/tmp/file"), file(35, top), file(36, "/tmp/w"), file(37, run)];
        assert_eq!(fs::read(dir.path().join("files.img")).unwrap(), image(&wanted));
    }
}

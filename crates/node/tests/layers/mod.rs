//! What must hold of the reader of layers, whatever it reads. The tests and the
//! target `layer` of `fuzz/` share it.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use warren_node::image::unpack_layer;

/// Bytes that a layer may unpack to here.
const BYTES: u64 = 1 << 20;
/// Entries that it may have.
const ENTRIES: u64 = 500;
/// Ids above are not in a sandbox.
const LAST_ID: u32 = 65_535;

/// A layer goes into its directory and nowhere else, keeps within its bounds, and
/// brings nothing that steers the host or the overlay; or it is refused with a reason.
pub(crate) fn layer(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let (outside, to) = (dir.path().join("outside"), dir.path().join("layer"));
    fs::write(&outside, "untouched").expect("a file can be written");
    fs::create_dir(&to).expect("a directory can be made");
    let mut blob = tempfile::tempfile().expect("a file can be made");
    blob.write_all(bytes).expect("a file can be written");
    blob.rewind().expect("a file can be read from its start");
    if let Err(refused) = unpack_layer(blob, &to, BYTES, ENTRIES) {
        assert!(!refused.to_string().is_empty(), "a refusal has a reason");
    }
    assert_eq!(fs::read_to_string(&outside).expect("it is still there"), "untouched");
    assert_eq!(fs::metadata(&outside).expect("it is still there").nlink(), 1, "no link leads in");
    assert_eq!(fs::read_dir(dir.path()).expect("it can be listed").count(), 2, "nothing beside the layer");
    let (mut bytes, mut entries) = (0, 0);
    look(&to, &mut bytes, &mut entries);
    assert!(bytes <= BYTES, "{bytes} bytes");
    // Directories on the way to an entry are made, too.
    assert!(entries <= ENTRIES * 300, "{entries} entries");
}

fn look(dir: &Path, bytes: &mut u64, entries: &mut u64) {
    for entry in fs::read_dir(dir).expect("a layer can be listed") {
        let path = entry.expect("a layer can be listed").path();
        let found = fs::symlink_metadata(&path).expect("an entry can be looked at");
        *entries += 1;
        let kind = found.file_type();
        assert!(!kind.is_char_device() && !kind.is_block_device(), "a device: {}", path.display());
        assert!(found.uid() <= LAST_ID && found.gid() <= LAST_ID, "somebody's: {}", path.display());
        if kind.is_file() {
            *bytes += found.len();
        }
        if kind.is_dir() {
            look(&path, bytes, entries);
        }
        if kind.is_file() || kind.is_dir() {
            let mut names = [0_u8; 4096];
            let file = File::open(&path).expect("root opens everything");
            let len = rustix::fs::flistxattr(&file, &mut names[..]).unwrap_or_default();
            let mut names = names[..len].split(|byte| *byte == 0);
            assert!(names.all(|name| !name.starts_with(b"user.overlay.")), "steered: {}", path.display());
        }
    }
}

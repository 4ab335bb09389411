//! Both kinds of storage that this host can make, against one list of promises.
//! Needs root, `mkfs.btrfs` and `mkfs.ext4`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

const LIMIT: ByteSize = ByteSize::mib(16);

/// A state directory of its own; unmounts what is left when a test fails half-way.
struct World {
    state: tempfile::TempDir,
    options: StorageOptions,
}

impl World {
    fn new(kind: StorageKind) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            testkit::skip("mounting needs root");
            return None;
        }
        let options = StorageOptions { image_size: Some(ByteSize::gib(8)), only: Some(kind) };
        Some(Self { state: tempfile::tempdir().unwrap(), options })
    }

    fn open(&self) -> Storage {
        Storage::open(self.state.path(), &self.options).unwrap()
    }

    fn sandbox(storage: &Storage, name: &str) -> PathBuf {
        let dir = storage.sandboxes_dir().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let mut ours: Vec<_> =
            ours.filter(|target| Path::new(target).starts_with(self.state.path())).collect();
        ours.sort_by_key(|target| std::cmp::Reverse(target.len()));
        for target in ours {
            let _ = image::unmount(Path::new(target));
        }
    }
}

fn each_kind(check: fn(&World)) {
    for kind in [StorageKind::BtrfsImage, StorageKind::Ext4Images] {
        if let Some(world) = World::new(kind) {
            check(&world);
        }
    }
}

/// Writes until it is refused; how much went in, and why it ended.
fn fill(path: &Path, most: ByteSize) -> (u64, Option<i32>) {
    let chunk = vec![0x5a_u8; 256 << 10];
    let mut file = File::create(path).unwrap();
    let mut written = 0;
    while written < most.as_u64() {
        match file.write(&chunk) {
            Ok(n) => written += n as u64,
            Err(e) => return (written, e.raw_os_error()),
        }
    }
    (written, file.sync_all().err().and_then(|e| e.raw_os_error()))
}

fn is_full(code: Option<i32>) -> bool {
    use rustix::io::Errno;
    [Errno::NOSPC, Errno::DQUOT].iter().any(|e| code == Some(e.raw_os_error()))
}

#[test]
fn a_limit_stops_big_files_and_gives_room_back_when_they_are_removed() {
    each_kind(|world| {
        let storage = world.open();
        let dir = World::sandbox(&storage, "a");
        let neighbour = World::sandbox(&storage, "b");
        let layer = storage.create(&dir, LIMIT).unwrap();
        let other = storage.create(&neighbour, LIMIT).unwrap();
        for round in 0..3 {
            let big = layer.upper.join("big");
            let (written, end) = fill(&big, ByteSize::mib(50));
            assert!(is_full(end), "{}: round {round}: ended with {end:?}", storage.kind());
            assert!(
                (6 << 20..=LIMIT.as_u64()).contains(&written),
                "{}: round {round}: {written} bytes went in",
                storage.kind()
            );
            println!(
                "{}: {written} bytes, then {}",
                storage.kind(),
                std::io::Error::from_raw_os_error(end.unwrap())
            );
            let used = storage.usage(&dir).unwrap();
            assert!(used >= ByteSize::mib(6) && used <= LIMIT, "{}: {used}", storage.kind());
            fs::remove_file(&big).unwrap();
        }
        assert_eq!(
            fill(&other.upper.join("neighbour"), ByteSize::mib(6)),
            (6 << 20, None),
            "a neighbour has its own"
        );
        for dir in [dir, neighbour] {
            storage.remove(&dir).unwrap();
        }
    });
}

#[test]
fn a_limit_stops_masses_of_empty_files() {
    each_kind(|world| {
        let storage = world.open();
        let dir = World::sandbox(&storage, "a");
        let layer = storage.create(&dir, LIMIT).unwrap();
        let made = (0..1_000_000).find_map(|i| {
            let refused =
                File::create(layer.upper.join(format!("a-rather-long-name-of-an-empty-file-{i}"))).err()?;
            Some((i, refused.raw_os_error()))
        });
        let (made, code) = made.expect("a million files did not meet the limit");
        assert!(is_full(code), "{}: {code:?}", storage.kind());
        println!("{}: stopped after {made} empty files", storage.kind());
        storage.remove(&dir).unwrap();
    });
}

#[test]
fn removal_is_safe_twice_and_leaves_nothing() {
    each_kind(|world| {
        let storage = world.open();
        let dir = World::sandbox(&storage, "a");
        storage.remove(&dir).unwrap();
        let layer = storage.create(&dir, LIMIT).unwrap();
        File::create(layer.upper.join("file")).unwrap();
        assert!(storage.create(&dir, LIMIT).is_err(), "one layer for one sandbox");
        storage.remove(&dir).unwrap();
        storage.remove(&dir).unwrap();
        fs::remove_dir(&dir).expect("nothing of ours is left in it");
        assert!(storage.close().unwrap());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(world.state.path().to_str().unwrap()), "{mounts}");
    });
}

#[test]
fn storage_is_taken_over_while_sandboxes_use_it() {
    each_kind(|world| {
        let storage = world.open();
        let dir = World::sandbox(&storage, "a");
        let layer = storage.create(&dir, LIMIT).unwrap();
        fs::write(layer.upper.join("file"), "kept").unwrap();
        let unmounted = storage.close().unwrap();
        assert_eq!(unmounted, world.options.only == Some(StorageKind::Btrfs), "it stays for the sandbox");
        let storage = world.open();
        assert_eq!(fs::read_to_string(layer.upper.join("file")).unwrap(), "kept");
        storage.remove(&dir).unwrap();
        fs::remove_dir(&dir).unwrap();
        assert!(storage.close().unwrap());
        let storage = world.open();
        assert!(storage.free().unwrap() > ByteSize::gib(1));
        assert!(storage.close().unwrap());
    });
}

#[test]
fn a_sealed_layer_is_what_was_written_and_can_be_removed() {
    each_kind(|world| {
        let storage = world.open();
        let dir = World::sandbox(&storage, "a");
        let layer = storage.create(&dir, LIMIT).unwrap();
        fs::set_permissions(&layer.upper, fs::Permissions::from_mode(0o711)).unwrap();
        rustix::fs::setxattr(&layer.upper, "user.mark", b"yes", rustix::fs::XattrFlags::empty()).unwrap();
        fs::create_dir(layer.work.join("work")).unwrap();
        for name in ["upper", "work"] {
            fs::create_dir(layer.upper.join(name)).unwrap();
            fs::write(layer.upper.join(name).join("inner"), name).unwrap();
        }
        fs::hard_link(layer.upper.join("upper/inner"), layer.upper.join("linked")).unwrap();
        symlink("nowhere", layer.upper.join("symlink")).unwrap();
        std::os::unix::fs::chown(layer.upper.join("linked"), Some(1000), Some(1000)).unwrap();

        let sealed = storage.layers_dir().join("sealed");
        storage.seal(&dir, &sealed).unwrap();
        let mut names: Vec<_> = fs::read_dir(&sealed).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["linked", "symlink", "upper", "work"]);
        assert_eq!(fs::metadata(&sealed).unwrap().mode() & 0o7777, 0o711);
        let mut value = [0_u8; 8];
        assert_eq!(rustix::fs::getxattr(&sealed, "user.mark", &mut value[..]), Ok(3));
        let linked = fs::metadata(sealed.join("linked")).unwrap();
        assert_eq!((linked.uid(), linked.nlink()), (1000, 2));
        assert_eq!(fs::read_to_string(sealed.join("work/inner")).unwrap(), "work");
        if storage.kind() == StorageKind::BtrfsImage {
            assert!(fs::write(sealed.join("upper/inner"), "changed").is_err(), "a layer is never changed");
        }
        assert!(!dir.join("disk").exists());

        storage.remove_layer(&sealed).unwrap();
        storage.remove_layer(&sealed).unwrap();
        let plain = storage.layers_dir().join("plain");
        fs::create_dir(&plain).unwrap();
        fs::write(plain.join("file"), "").unwrap();
        storage.remove_layer(&plain).unwrap();
        assert_eq!(fs::read_dir(storage.layers_dir()).unwrap().count(), 0);
    });
}

#[test]
fn a_layer_that_was_cut_off_is_removed_with_its_name() {
    each_kind(|world| {
        let storage = world.open();
        let dir = World::sandbox(&storage, "a");
        let writable = storage.create(&dir, LIMIT).unwrap();
        fs::write(writable.upper.join("file"), "").unwrap();
        let draft = storage.layers_dir().join("draft");
        let layer = draft.join("layer");
        fs::create_dir(&draft).unwrap();
        storage.snapshot(&dir, &layer).unwrap();
        fs::rename(&layer, layer::staging(&layer).unwrap()).unwrap();
        storage.remove_layer(&layer).unwrap();
        fs::remove_dir(&draft).unwrap();
        storage.remove(&dir).unwrap();
    });
}

#[test]
fn a_host_without_any_kind_is_told_what_is_missing() {
    let state = tempfile::tempdir().unwrap();
    let options = StorageOptions { image_size: Some(ByteSize::mib(1)), only: Some(StorageKind::BtrfsImage) };
    let error = Storage::open(state.path(), &options).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
    assert!(error.to_string().contains("is too little"), "{error}");
}

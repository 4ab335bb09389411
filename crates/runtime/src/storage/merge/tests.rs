//! Merging against a model of what an overlay shows, and on real directories.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Whiteout,
    File(u8),
    Directory(Directory),
}

/// Told apart by its mode.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Directory {
    opaque: bool,
    mode: u32,
    holds: BTreeMap<String, Node>,
}

/// What is seen at a path: the mode of a directory, or the content of a file.
type Shown = BTreeMap<String, Result<u32, u8>>;

/// In place of a content: a mark that should not be seen.
const LISTED: u8 = 255;

/// What an overlay of these directories, topmost first, shows.
fn show(stack: &[&Directory], path: &str, shown: &mut Shown) {
    shown.insert(path.to_owned(), Ok(stack[0].mode));
    let names: std::collections::BTreeSet<&String> = stack.iter().flat_map(|one| one.holds.keys()).collect();
    for name in names {
        let mut found = stack.iter().filter_map(|one| one.holds.get(name)).peekable();
        let path = format!("{path}/{name}");
        match found.peek() {
            Some(Node::File(content)) => drop(shown.insert(path, Err(*content))),
            Some(Node::Directory(_)) => {
                let mut merged = Vec::new();
                for node in found {
                    let Node::Directory(directory) = node else { break };
                    merged.push(directory);
                    if directory.opaque {
                        break;
                    }
                }
                show(&merged, &path, shown);
            }
            // A mark in a directory of one layer is listed: the kernel does not look for it there.
            Some(Node::Whiteout) if stack.len() == 1 => drop(shown.insert(path, Err(LISTED))),
            Some(Node::Whiteout) | None => {}
        }
    }
}

fn shown(stack: &[Directory]) -> Shown {
    let mut shown = Shown::new();
    show(&stack.iter().collect::<Vec<_>>(), "", &mut shown);
    shown
}

fn write(directory: &Directory, to: &Path) {
    for (name, node) in &directory.holds {
        let path = to.join(name);
        match node {
            Node::Whiteout => {
                rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
            }
            Node::File(content) => fs::write(&path, [*content]).unwrap(),
            Node::Directory(inner) => {
                fs::create_dir(&path).unwrap();
                if inner.opaque {
                    rustix::fs::setxattr(&path, OPAQUE, b"y", XattrFlags::empty()).unwrap();
                }
                write(inner, &path);
            }
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(directory.mode)).unwrap();
}

fn read(from: &Path) -> Directory {
    let opaque = is_opaque(open_directory(CWD, from.as_os_str()).unwrap().as_fd()).unwrap();
    let mut holds = BTreeMap::new();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let stat = rustix::fs::lstat(&path).unwrap();
        let node = if is_whiteout(&stat) {
            Node::Whiteout
        } else if path.is_dir() {
            Node::Directory(read(&path))
        } else {
            Node::File(fs::read(&path).unwrap()[0])
        };
        holds.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), node);
    }
    Directory { opaque, mode: fs::metadata(from).unwrap().mode() & 0o777, holds }
}

/// Merges on disk, and reads the result back.
fn merged(layers: &[Directory], below: &[Directory]) -> Directory {
    let dir = tempfile::tempdir().unwrap();
    let all = layers.len() + below.len();
    let paths: Vec<PathBuf> = (0..all).map(|n| dir.path().join(n.to_string())).collect();
    for (layer, path) in layers.iter().chain(below).zip(&paths) {
        fs::create_dir(path).unwrap();
        write(layer, path);
    }
    let to = dir.path().join("merged");
    let (layers, below) = paths.split_at(layers.len());
    crate::storage::merge_beside(layers, below, &to).unwrap();
    read(&to)
}

fn directories() -> impl Strategy<Value = Directory> {
    let leaf = prop_oneof![Just(Node::Whiteout), (0..LISTED).prop_map(Node::File)];
    let node = leaf.prop_recursive(3, 20, 3, |inner| {
        let holds = prop::collection::btree_map("[abc]", inner, 0..3);
        (any::<bool>(), 0_u32..8, holds).prop_map(|(opaque, bits, holds)| {
            Node::Directory(Directory { opaque, mode: 0o700 | bits, holds })
        })
    });
    let holds = prop::collection::btree_map("[abc]", node, 0..4);
    // The overlay takes no notice of a mark at the top of a layer.
    (0_u32..8, holds).prop_map(|(bits, holds)| Directory { opaque: false, mode: 0o700 | bits, holds })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_merged_run_shows_what_its_layers_show(
        stack in prop::collection::vec(directories(), 1..6),
        ends in (0_usize..6, 0_usize..6),
    ) {
        let (from, to) = (ends.0.min(ends.1).min(stack.len() - 1), ends.0.max(ends.1).min(stack.len() - 1));
        let mut after = stack.clone();
        after.splice(from..=to, [merged(&stack[from..=to], &stack[to + 1..])]);
        let (mut before, mut after) = (shown(&stack), shown(&after));
        // No mark is listed that was not; one that was may be gone.
        prop_assert!(after.iter().all(|(path, seen)| *seen != Err(LISTED) || before.get(path) == Some(seen)));
        before.retain(|_, seen| *seen != Err(LISTED));
        after.retain(|_, seen| *seen != Err(LISTED));
        prop_assert_eq!(after, before);
    }
}

#[test]
fn what_a_file_is_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (low, high) = (dir.path().join("low"), dir.path().join("high"));
    for layer in [&low, &high] {
        fs::create_dir_all(layer.join("d")).unwrap();
    }
    fs::write(low.join("d/program"), "run").unwrap();
    fs::set_permissions(low.join("d/program"), fs::Permissions::from_mode(0o4755)).unwrap();
    rustix::fs::setxattr(low.join("d/program"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(low.join("d/program"), "user.overlay.origin", b"x", XattrFlags::empty()).unwrap();
    fs::hard_link(low.join("d/program"), low.join("again")).unwrap();
    let sparse = File::create(low.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    symlink("/etc/passwd", high.join("d/link")).unwrap();
    fs::write(high.join("late"), "").unwrap();
    let old = Timestamps {
        last_access: Timespec { tv_sec: 7, tv_nsec: 8 },
        last_modification: Timespec { tv_sec: 9, tv_nsec: 10 },
    };
    rustix::fs::utimensat(CWD, high.join("d"), &old, AtFlags::empty()).unwrap();

    let to = dir.path().join("merged");
    crate::storage::merge_beside(&[high, low], &[], &to).unwrap();
    let program = fs::metadata(to.join("d/program")).unwrap();
    assert_eq!(program.mode() & 0o7777, 0o4755);
    assert_eq!(program.ino(), fs::metadata(to.join("again")).unwrap().ino());
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(to.join("d/program"), "user.note", &mut value[..]), Ok(4));
    assert_eq!(
        rustix::fs::getxattr(to.join("d/program"), "user.overlay.origin", &mut value[..]),
        Err(Errno::NODATA)
    );
    let sparse = fs::metadata(to.join("sparse")).unwrap();
    assert!(sparse.len() == 1 << 30 && sparse.blocks() < 1000, "holes stay holes");
    assert_eq!(fs::read_link(to.join("d/link")).unwrap(), Path::new("/etc/passwd"));
    let d = fs::metadata(to.join("d")).unwrap();
    assert_eq!((d.mtime(), d.mtime_nsec()), (9, 10), "the upper directory's time");
}

#[test]
fn links_are_never_followed_and_depth_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (low, high, outside) = (dir.path().join("low"), dir.path().join("high"), dir.path().join("outside"));
    for made in [&low, &high, &outside] {
        fs::create_dir(made).unwrap();
    }
    symlink(&outside, low.join("d")).unwrap();
    fs::create_dir(high.join("d")).unwrap();
    fs::write(high.join("d/file"), "x").unwrap();
    let to = dir.path().join("merged");
    crate::storage::merge_beside(&[high, low.clone()], &[], &to).unwrap();
    assert!(to.join("d/file").is_file() && fs::read_dir(&outside).unwrap().next().is_none());

    let mut deep = low;
    for _ in 0..=DEEPEST {
        deep.push("d");
    }
    fs::remove_file(dir.path().join("low/d")).unwrap();
    fs::create_dir_all(&deep).unwrap();
    let refused = crate::storage::merge_beside(&[dir.path().join("low")], &[], &dir.path().join("other"));
    assert!(refused.is_err() && !dir.path().join("other").exists());
}

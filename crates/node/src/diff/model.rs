//! The walk against a model: trees of random layers, put together from below by the
//! simplest rule there is, and compared path by path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::compare::Facts;
use super::merge::{Entry, Layer, Listing};
use super::walk::{Bounds, Trees, page};
use super::{DiffError, DiffRequest, Difference, FileKind, FileState, below};

const WIDE: Bounds = Bounds { names: 1000, looks: 100_000, bytes: 1 << 30, path: 1000 };

/// What a layer has under a name.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    File { content: u8, mode: u32 },
    Directory { opaque: bool, mode: u32, names: Names },
    Whiteout,
}

type Names = BTreeMap<Vec<u8>, Node>;

/// A merged tree.
#[derive(Debug, Clone, PartialEq)]
enum Merged {
    File { content: u8, mode: u32 },
    Directory { mode: u32, names: BTreeMap<Vec<u8>, Merged> },
}

fn node() -> impl Strategy<Value = Node> {
    let mode = || prop_oneof![9 => Just(0o644_u32), 1 => Just(0o600)];
    let leaf = prop_oneof![
        4 => (0..3_u8, mode()).prop_map(|(content, mode)| Node::File { content, mode }),
        1 => Just(Node::Whiteout),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        (proptest::bool::weighted(0.2), mode(), names(inner))
            .prop_map(|(opaque, mode, names)| Node::Directory { opaque, mode, names })
    })
}

fn names(of: impl Strategy<Value = Node>) -> impl Strategy<Value = Names> {
    // Few names, so that layers meet; one of them sorts differently with what follows a slash.
    let name = prop_oneof![Just(b"a".to_vec()), Just(b"a!".to_vec()), Just(b"b".to_vec()), Just(vec![0xff])];
    prop::collection::btree_map(name, of, 0..4)
}

fn layers() -> impl Strategy<Value = Vec<Node>> {
    let top = names(node()).prop_map(|names| Node::Directory { opaque: false, mode: 0o755, names });
    prop::collection::vec(top, 5)
}

struct Model(Vec<Node>);

impl Model {
    fn at(&self, layer: Layer, path: &Path) -> &Node {
        let mut node = &self.0[layer];
        for part in path.components() {
            let Node::Directory { names, .. } = node else { panic!("{path:?} is asked of a file") };
            node = &names[part.as_os_str().as_encoded_bytes()];
        }
        node
    }
}

fn state(kind: FileKind, mode: u32) -> FileState {
    FileState { kind, size: u64::from(kind == FileKind::File), mode, uid: 0, gid: 0 }
}

impl Trees for Model {
    fn list(&self, layer: Layer, dir: &Path) -> Result<Listing, DiffError> {
        let Node::Directory { opaque, names, .. } = self.at(layer, dir) else { panic!("{dir:?} is listed") };
        let entry = |node: &Node| match node {
            Node::File { .. } => Entry::Other,
            Node::Directory { .. } => Entry::Directory,
            Node::Whiteout => Entry::Whiteout,
        };
        Ok(Listing {
            opaque: *opaque,
            names: names.iter().map(|(name, node)| (name.clone(), entry(node))).collect(),
        })
    }

    fn facts(&self, layer: Layer, path: &Path) -> Result<Facts, DiffError> {
        let state = match self.at(layer, path) {
            Node::File { mode, .. } => state(FileKind::File, *mode),
            Node::Directory { mode, .. } => state(FileKind::Directory, *mode),
            Node::Whiteout => panic!("{path:?} is shown"),
        };
        Ok(Facts { state, device: 0, version: None })
    }

    fn same_content(&self, path: &Path, before: Layer, after: Layer) -> Result<(bool, u64), DiffError> {
        let content = |layer| match self.at(layer, path) {
            Node::File { content, .. } => *content,
            other => panic!("{other:?} is read"),
        };
        Ok((content(before) == content(after), 2))
    }
}

/// What is seen after `upper` is laid over `lower`.
fn lay(lower: Option<Merged>, upper: &Node) -> Option<Merged> {
    match upper {
        Node::Whiteout => None,
        Node::File { content, mode } => Some(Merged::File { content: *content, mode: *mode }),
        Node::Directory { opaque, mode, names } => {
            let mut merged = match lower {
                Some(Merged::Directory { names, .. }) if !opaque => names,
                _ => BTreeMap::new(),
            };
            for (name, node) in names {
                if let Some(seen) = lay(merged.remove(name), node) {
                    merged.insert(name.clone(), seen);
                }
            }
            Some(Merged::Directory { mode: *mode, names: merged })
        }
    }
}

fn flatten(path: &Path, tree: &Merged, all: &mut BTreeMap<PathBuf, (FileState, u8)>) {
    match tree {
        Merged::File { content, mode } => {
            all.insert(path.to_owned(), (state(FileKind::File, *mode), *content));
        }
        Merged::Directory { mode, names } => {
            all.insert(path.to_owned(), (state(FileKind::Directory, *mode), 0));
            for (name, node) in names {
                flatten(&below(path, name), node, all);
            }
        }
    }
}

fn seen(layers: &[Node], stack: &[Layer]) -> BTreeMap<PathBuf, (FileState, u8)> {
    let merged = stack.iter().rev().fold(None, |below, layer| lay(below, &layers[*layer]));
    let mut all = BTreeMap::new();
    if let Some(tree) = merged {
        flatten(Path::new("/"), &tree, &mut all);
    }
    all
}

/// In the order of names, which that of `Path` is too.
fn expected(layers: &[Node], before: &[Layer], after: &[Layer]) -> Vec<Difference> {
    let (before, after) = (seen(layers, before), seen(layers, after));
    let paths: std::collections::BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    let differ = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let of = |side: &BTreeMap<PathBuf, (FileState, u8)>, path| side.get(path).map(|(state, _)| state.clone());
    differ
        .map(|path| Difference { path: path.clone(), before: of(&before, path), after: of(&after, path) })
        .collect()
}

fn stack() -> impl Strategy<Value = Vec<Layer>> {
    prop::sample::subsequence((0..5).collect::<Vec<Layer>>(), 1..=4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pages_together_are_what_differs(
        layers in layers(),
        before in stack(),
        after in stack(),
        limit in 1..4_usize,
        looks in prop_oneof![Just(WIDE.looks), 1..10_usize],
    ) {
        let model = Model(layers);
        let mut found = Vec::new();
        let mut next = None;
        for round in 0.. {
            prop_assert!(round < 1000, "it does not come to an end");
            let request = DiffRequest { after: next.clone(), limit };
            let part = page(&model, &before, &after, &request, Bounds { looks, ..WIDE }).unwrap();
            prop_assert!(part.differences.len() <= limit);
            prop_assert!(part.next.is_none() || part.next > next, "it goes on");
            found.extend(part.differences);
            next = part.next;
            if next.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, expected(&model.0, &before, &after));
    }

    #[test]
    fn a_state_does_not_differ_from_itself_and_the_other_way_round_is_the_mirror(
        layers in layers(),
        before in stack(),
        after in stack(),
    ) {
        let model = Model(layers);
        let request = DiffRequest { after: None, limit: usize::MAX };
        let of = |one: &[Layer], other: &[Layer]| page(&model, one, other, &request, WIDE).unwrap().differences;
        prop_assert_eq!(of(&before, &before), []);
        let mirrored = of(&after, &before).into_iter().map(|d| Difference { before: d.after, after: d.before, ..d });
        prop_assert_eq!(of(&before, &after), mirrored.collect::<Vec<_>>());
    }
}

#[test]
fn what_is_too_much_is_refused_by_name() {
    let file = |n: u16| (n.to_be_bytes().to_vec(), Node::File { content: 0, mode: 0 });
    let directory = |names: Names| Node::Directory { opaque: false, mode: 0o755, names };
    let wide = directory([(b"wide".to_vec(), directory((0x4000..0x4010).map(file).collect()))].into());
    let deep =
        (0..20).fold(directory(Names::new()), |inner, _| directory([(b"deep".to_vec(), inner)].into()));
    let model = Model(vec![wide, deep, directory(Names::new())]);
    let request = DiffRequest { after: None, limit: 100 };
    let page = |layer, bounds| page(&model, &[layer], &[2], &request, bounds);
    let error = page(0, Bounds { names: 10, ..WIDE }).unwrap_err();
    assert!(
        matches!(&error, DiffError::TooManyNames { path, limit: 10 } if path == Path::new("/wide")),
        "{error}"
    );
    let error = page(1, Bounds { path: 30, ..WIDE }).unwrap_err();
    assert!(matches!(error, DiffError::TooDeep { .. }), "{error}");
    assert_eq!(page(1, WIDE).unwrap().differences.len(), 20);
}

#[test]
fn a_directory_that_both_share_is_not_read() {
    struct Closed(Model);
    impl Trees for Closed {
        fn list(&self, layer: Layer, dir: &Path) -> Result<Listing, DiffError> {
            assert!(!dir.starts_with("shared"), "{dir:?} of {layer} was listed");
            self.0.list(layer, dir)
        }
        fn facts(&self, layer: Layer, path: &Path) -> Result<Facts, DiffError> {
            assert!(!path.starts_with("shared"));
            self.0.facts(layer, path)
        }
        fn same_content(&self, path: &Path, before: Layer, after: Layer) -> Result<(bool, u64), DiffError> {
            self.0.same_content(path, before, after)
        }
    }
    let file = |content| Node::File { content, mode: 0 };
    let directory = |names: Names| Node::Directory { opaque: false, mode: 0o755, names };
    let shared = directory([(b"file".to_vec(), file(1))].into());
    let base = directory([(b"shared".to_vec(), shared)].into());
    let own = |content| directory([(b"own".to_vec(), file(content))].into());
    let trees = Closed(Model(vec![own(1), own(2), base]));
    let request = DiffRequest { after: None, limit: 100 };
    let found = page(&trees, &[0, 2], &[1, 2], &request, WIDE).unwrap().differences;
    assert_eq!(found.iter().map(|one| one.path.as_path()).collect::<Vec<_>>(), [Path::new("/own")]);
}

//! Images with a common base, on a file system that copies trees without copying
//! what they hold.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod shop;
mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use model::{BuildId, ByteSize, Resources, TeamId};
use runtime::sim::Sim;
use runtime::storage::{Storage, StorageKind, StorageOptions};
use shop::{Registry, Shop, digest, log};
use support::{Host, until};
use warren_node::build::{BuildFailure, BuildOrder, BuildProgress, CachedStep, Source, Start};
use warren_node::image::ImageOptions;
use warren_node::{Handle, NodeOptions, Sandboxes};

const TEAM: TeamId = TeamId::from_u128(9);
const OTHERS: TeamId = TeamId::from_u128(10);
const MIB: u64 = 1 << 20;

/// A host whose layers lie on a btrfs of its own; unmounted when the test ends.
struct Ground {
    host: Host,
    storage: Storage,
}

impl Ground {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            testkit::skip("mounting needs root");
            return None;
        }
        let host = Host::new();
        let options =
            StorageOptions { image_size: Some(ByteSize::gib(1)), only: Some(StorageKind::BtrfsImage) };
        let storage = Storage::open(host.path(), &options).unwrap();
        std::fs::create_dir(storage.layers_dir().join("root")).unwrap();
        Some(Self { host, storage })
    }

    async fn open(&self, registry: &Registry) -> Handle {
        let backend = Sim::new(Arc::clone(&self.host.world)).with_trees(self.storage.trees().unwrap());
        let options = NodeOptions {
            bulk_dir: self.storage.root().to_owned(),
            backend: Arc::new(backend),
            images: plain(registry),
            ..self.host.options()
        };
        Handle::open(options).await.unwrap().0
    }

    fn layer(&self, name: &str) -> PathBuf {
        self.storage.layers_dir().join(name)
    }

    fn layers(&self) -> usize {
        std::fs::read_dir(self.storage.layers_dir()).unwrap().count()
    }

    /// Bytes of files on the file system, each shared one counted once.
    fn used(&self) -> u64 {
        run("sync", &["-f", self.storage.root().to_str().unwrap()]);
        let id = run("findmnt", &["-no", "UUID", self.storage.root().to_str().unwrap()]);
        let count = format!("/sys/fs/btrfs/{}/allocation/data/bytes_used", id.trim());
        std::fs::read_to_string(count).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Whatever failed; lazily, since the storage is still open.
        let _ = Command::new("umount").arg("-l").arg(self.storage.root()).status();
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn plain(registry: &Registry) -> ImageOptions {
    ImageOptions { plain_http: vec![registry.host.clone()], ..ImageOptions::default() }
}

/// A layer in the making.
struct Sheet(tar::Builder<Vec<u8>>);

impl Sheet {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, path: &str, kind: tar::EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(if kind == tar::EntryType::Directory { 0o750 } else { 0o4640 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_600_000_000);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, tar::EntryType::Regular, "", content)
    }

    fn directory(self, path: &str) -> Self {
        self.entry(path, tar::EntryType::Directory, "", b"")
    }

    fn hardlink(self, path: &str, to: &str) -> Self {
        self.entry(path, tar::EntryType::Link, to, b"")
    }

    fn symlink(self, path: &str, to: &str) -> Self {
        self.entry(path, tar::EntryType::Symlink, to, b"")
    }

    fn attributed(mut self, path: &str, name: &str, value: &str) -> Self {
        let record = format!(" SCHILY.xattr.{name}={value}\n");
        let length =
            (record.len()..record.len() + 8).find(|n| n.to_string().len() + record.len() == *n).unwrap();
        let record = format!("{length}{record}");
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(record.len() as u64);
        header.set_cksum();
        self.0.append_data(&mut header, "attributes", record.as_bytes()).unwrap();
        self.file(path, value.as_bytes())
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Bytes that nothing makes smaller.
fn noise(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::new();
    while (noise.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise
}

/// 30 MiB with everything that is easily lost.
fn base() -> Vec<u8> {
    Sheet::new()
        .directory("base")
        .file("base/large", &noise(30 * MIB))
        .hardlink("base/same", "base/large")
        .attributed("base/noted", "user.note", "hello")
        .symlink("base/link", "large")
        .directory("base/opaque")
        .file("base/opaque/lower", b"1")
        .file("base/gone", b"1")
        .file("base/replaced", b"1")
        .bytes()
}

fn second() -> Vec<u8> {
    Sheet::new()
        .directory("base")
        .directory("base/opaque")
        .file("base/opaque/.wh..wh..opq", b"")
        .file("base/opaque/upper", b"2")
        .file("base/.wh.gone", b"")
        .file("base/replaced", b"2 and more")
        .hardlink("base/third", "base/same")
        .bytes()
}

impl Shop {
    /// An image of layers, under a tag; `said` instead of what they unpack to.
    fn image(&mut self, tag: &str, layers: &[&[u8]], said: Option<&[String]>) {
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let diff_ids = said.unwrap_or(&diff_ids);
        let rootfs = serde_json::json!({"type": "layers", "diff_ids": diff_ids});
        let config = self.blob(serde_json::json!({"os": "linux", "rootfs": rootfs}).to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(layer)).collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.files.insert(format!("manifests/{tag}"), manifest.to_string().into_bytes());
    }
}

/// `first` and `second` stand on the same base.
async fn registry() -> Registry {
    Registry::open(|_| {
        let mut shop = Shop::default();
        shop.image("first", &[&base(), &Sheet::new().file("first", b"1").bytes()], None);
        shop.image("second", &[&base(), &second()], None);
        let claims = [digest(&base()), digest(&second())];
        shop.image("claims", &[&Sheet::new().file("mine", b"1").bytes(), &second()], Some(&claims));
        shop
    })
    .await
}

fn fetched(registry: &Registry, layer: &[u8]) -> usize {
    let name = digest(layer);
    registry.shop.seen.lock().unwrap().iter().filter(|(path, ..)| path.contains(&name)).count()
}

async fn build(handle: &Handle, team_id: TeamId, n: u128, registry: &Registry, tag: &str) -> BuildProgress {
    let order = BuildOrder {
        template_id: "minemine".parse().unwrap(),
        build_id: BuildId::from_u128(n),
        team_id,
        source: Source::Image { reference: format!("{}/case/image:{tag}", registry.host), credentials: None },
        steps: Vec::new(),
        start: Start::default(),
        force: false,
        resources: Resources { cpu_count: 1, memory: ByteSize::mib(512), disk: ByteSize::gib(1) },
    };
    shop::build(handle, order, Duration::from_mins(2)).await
}

/// A team's entry whose title has this in it.
async fn step(handle: &Handle, team: TeamId, title: &str) -> CachedStep {
    let steps = handle.cached_steps(team).await.unwrap();
    steps.into_iter().find(|step| step.entry.title.contains(title)).unwrap()
}

/// Everything that a tree is but the times of directories, which what is written into
/// them changes: by path.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut listing = BTreeMap::new();
    let mut names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let meta = path.symlink_metadata().unwrap();
            let inner = path.strip_prefix(root).unwrap().to_owned();
            let what = if meta.is_dir() {
                waiting.push(path);
                String::new()
            } else if meta.is_symlink() {
                format!("{} {}", meta.mtime(), std::fs::read_link(&path).unwrap().display())
            } else {
                let content = digest(&std::fs::read(&path).unwrap());
                let mut value = [0; 64];
                let note = rustix::fs::getxattr(&path, "user.note", &mut value[..]).unwrap_or(0);
                let first = names.entry(meta.ino()).or_insert_with(|| inner.clone());
                // Files that the node writes itself are as old as the tree.
                let time = if inner.starts_with("etc") { 0 } else { meta.mtime() };
                format!("{time} {content} {} as {}", value[..note].escape_ascii(), first.display())
            };
            let what = format!("{:o} {} {} {what}", meta.mode(), meta.uid(), meta.gid());
            assert!(listing.insert(inner, what).is_none());
        }
    }
    let top = root.metadata().unwrap();
    listing.insert(PathBuf::new(), format!("{:o} {} {}", top.mode(), top.uid(), top.gid()));
    listing
}

#[tokio::test]
async fn images_with_a_common_base_share_it_and_are_what_they_would_be_without() {
    let Some(ground) = Ground::new() else { return };
    let registry = registry().await;
    let handle = ground.open(&registry).await;
    let empty = ground.used();
    assert_eq!(build(&handle, TEAM, 1, &registry, "first").await, BuildProgress::Ready);
    let one = ground.used() - empty;
    assert_eq!(build(&handle, TEAM, 2, &registry, "second").await, BuildProgress::Ready);
    let both = ground.used() - empty;
    println!("one image takes {one} bytes, both take {both}");
    assert!(one >= 30 * MIB && both < one + 4 * MIB, "{one}, then {both}");
    assert_eq!(fetched(&registry, &base()), 1, "the base is fetched once");
    let said = log(&handle, 2).await;
    assert!(said.contains("the lowest 1 are unpacked already, 1 layers"), "{said}");

    let alone = Host::new();
    let options = NodeOptions { images: plain(&registry), ..alone.options() };
    let without = Handle::open(options).await.unwrap().0;
    assert_eq!(build(&without, TEAM, 1, &registry, "second").await, BuildProgress::Ready);
    let [shared, whole] = [step(&handle, TEAM, ":second").await, step(&without, TEAM, ":second").await];
    let shared = listing(&ground.layer(&shared.entry.layer));
    assert_eq!(shared, listing(&alone.path().join("layers").join(whole.entry.layer)));
    assert!(shared[Path::new("base/third")].ends_with("as base/large"), "{shared:?}");
    assert!(!shared.contains_key(Path::new("base/gone")));
    assert!(!shared.contains_key(Path::new("base/opaque/lower")));
    assert!(handle.verify_layers().await.unwrap().damaged.is_empty());
    handle.shutdown(Sandboxes::Kill).await;
}

#[tokio::test]
async fn a_damaged_tree_is_not_gone_on_from() {
    let Some(ground) = Ground::new() else { return };
    let registry = registry().await;
    let handle = ground.open(&registry).await;
    assert_eq!(build(&handle, TEAM, 1, &registry, "first").await, BuildProgress::Ready);
    let tree = ground.layer(&step(&handle, TEAM, "lowest layers").await.entry.layer);
    handle.shutdown(Sandboxes::Leave).await;
    let path = tree.to_str().unwrap();
    run("btrfs", &["property", "set", "-ts", path, "ro", "false"]);
    std::fs::write(tree.join("base/large"), "something else").unwrap();
    run("btrfs", &["property", "set", "-ts", path, "ro", "true"]);

    let handle = ground.open(&registry).await;
    assert_eq!(build(&handle, TEAM, 2, &registry, "second").await, BuildProgress::Ready);
    let said = log(&handle, 2).await;
    assert!(!said.contains("unpacked already"), "{said}");
    let layer = ground.layer(&step(&handle, TEAM, ":second").await.entry.layer);
    assert_eq!(std::fs::read(layer.join("base/large")).unwrap(), noise(30 * MIB));
    assert_eq!(std::fs::read(tree.join("base/large")).unwrap(), noise(30 * MIB), "it was made anew");
    assert!(handle.verify_layers().await.unwrap().damaged.is_empty());
    handle.shutdown(Sandboxes::Kill).await;
}

#[tokio::test]
async fn another_team_has_to_fetch_what_it_shares() {
    let Some(ground) = Ground::new() else { return };
    let registry = registry().await;
    let handle = ground.open(&registry).await;
    assert_eq!(build(&handle, TEAM, 1, &registry, "first").await, BuildProgress::Ready);
    let before = ground.used();
    match build(&handle, OTHERS, 2, &registry, "claims").await {
        BuildProgress::Failed(BuildFailure { message, .. }) => {
            assert!(message.contains("it unpacks to sha256:"), "{message}");
        }
        other => panic!("what others have is had by naming it: {other:?}"),
    }
    assert!(handle.cached_steps(OTHERS).await.unwrap().is_empty());
    assert_eq!(build(&handle, OTHERS, 3, &registry, "second").await, BuildProgress::Ready);
    assert_eq!(fetched(&registry, &base()), 2, "the other team proves that it can have the base");
    assert!(ground.used() < before + 4 * MIB, "it is on the disk once");
    assert_eq!(step(&handle, OTHERS, "lowest layers").await.entry.team_id, OTHERS.to_string());
    handle.shutdown(Sandboxes::Kill).await;
}

#[tokio::test]
async fn trees_are_shown_forgotten_and_cleared_away_like_other_steps() {
    let Some(ground) = Ground::new() else { return };
    let registry = registry().await;
    let handle = ground.open(&registry).await;
    assert_eq!(build(&handle, TEAM, 1, &registry, "first").await, BuildProgress::Ready);
    let (tree, image) = (step(&handle, TEAM, "lowest layers").await, step(&handle, TEAM, ":first").await);
    assert!(!tree.in_use && image.entry.on.is_some(), "{tree:?} {image:?}");
    let steps = handle.cached_steps(TEAM).await.unwrap();
    let image = steps.iter().find(|step| step.in_use).unwrap();
    assert!(
        tree.size.as_u64() >= 30 * MIB && image.size.as_u64() < MIB,
        "shared space is told once: {steps:?}"
    );
    assert_eq!(handle.collect_layers(TEAM, Duration::from_hours(1)).await.unwrap().layers, 0);
    let collected = handle.collect_layers(TEAM, Duration::ZERO).await.unwrap();
    assert_eq!((collected.layers, collected.size), (1, ByteSize::bytes(0)), "the image holds what it held");
    until("the tree is removed", || ground.layers() == 2).await;

    assert_eq!(build(&handle, TEAM, 2, &registry, "second").await, BuildProgress::Ready);
    let tree = step(&handle, TEAM, "lowest layers").await;
    assert!(handle.forget_step(TEAM, &tree.entry.key).await.unwrap());
    for n in [1, 2] {
        handle.forget_build(BuildId::from_u128(n)).await.unwrap();
    }
    let collected = handle.collect_layers(TEAM, Duration::ZERO).await.unwrap();
    assert_eq!(collected.layers, 3);
    until("only the parent's stays", || ground.layers() == 1).await;
    handle.shutdown(Sandboxes::Kill).await;
}

#[tokio::test]
async fn pulls_at_once_and_what_a_killed_server_left_are_well() {
    let Some(ground) = Ground::new() else { return };
    let registry = registry().await;
    let trees = ground.storage.trees().unwrap();
    for name in [".lowest-x-1", ".image-y-2"] {
        trees.begin(None, &ground.layer(name)).unwrap();
        std::fs::write(ground.layer(name).join("half"), "x").unwrap();
        trees.close(&ground.layer(name)).unwrap();
    }
    let handle = ground.open(&registry).await;
    assert_eq!(ground.layers(), 1, "they are gone");
    let before = ground.used();
    let (first, second, others) = tokio::join!(
        build(&handle, TEAM, 1, &registry, "first"),
        build(&handle, TEAM, 2, &registry, "second"),
        build(&handle, OTHERS, 3, &registry, "second"),
    );
    assert_eq!((first, second, others), (BuildProgress::Ready, BuildProgress::Ready, BuildProgress::Ready));
    assert!(ground.used() - before < 64 * MIB, "a team's two images share: {} bytes", ground.used() - before);
    assert!(handle.verify_layers().await.unwrap().damaged.is_empty());
    assert_eq!(ground.layers(), 4, "one tree, two images and the parent's");
    handle.shutdown(Sandboxes::Kill).await;
}

//! Images from a registry that stands in for real ones: what it asks for, how it
//! breaks, and what the node makes of that. Real registries are met by the
//! black-box tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod shop;
mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use model::{BuildId, ByteSize, Resources, TeamId};
use shop::{Registry, Shop, log};
use support::Host;
use warren_node::build::{BuildFailure, BuildOrder, BuildProgress, Source, Start};
use warren_node::image::{Credentials, ImageOptions};
use warren_node::{Handle, NodeOptions};

/// Whether this process may give files to others; images cannot be unpacked without.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        testkit::skip("unpacking an image needs root");
    }
    root
}

async fn node(host: &Host, images: ImageOptions) -> Handle {
    let options = NodeOptions { images, ..host.options() };
    Handle::open(options).await.unwrap().0
}

fn plain(registry: &Registry) -> ImageOptions {
    ImageOptions { plain_http: vec![registry.host.clone()], ..ImageOptions::default() }
}

async fn build(handle: &Handle, n: u128, image: &str, credentials: Option<Credentials>) -> BuildProgress {
    let order = BuildOrder {
        template_id: "minemine".parse().unwrap(),
        build_id: BuildId::from_u128(n),
        team_id: TeamId::from_u128(9),
        source: Source::Image { reference: image.to_owned(), credentials },
        steps: Vec::new(),
        start: Start::default(),
        force: false,
        resources: Resources { cpu_count: 1, memory: ByteSize::mib(512), disk: ByteSize::gib(1) },
    };
    shop::build(handle, order, Duration::from_mins(1)).await
}

fn reason(progress: BuildProgress) -> String {
    match progress {
        BuildProgress::Failed(BuildFailure { step, message }) => {
            assert_eq!(step, "base");
            message
        }
        other => panic!("it did not fail: {other:?}"),
    }
}

fn layers(host: &Host) -> Vec<std::path::PathBuf> {
    let list = std::fs::read_dir(host.path().join("layers")).unwrap();
    let paths = list.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.join("from").exists()).collect()
}

#[tokio::test]
async fn a_registry_with_tokens_that_breaks_off_is_read_all_the_same() {
    if !is_root() {
        return;
    }
    let registry = Registry::open(|_| {
        let mut shop = Shop { token: Some("abc"), ..Shop::default() };
        let layer = shop.stock();
        shop.breaks = Mutex::new(BTreeMap::from([(format!("blobs/{layer}"), 2)]));
        shop
    })
    .await;
    let host = Host::new();
    let handle = node(&host, plain(&registry)).await;
    let password = Credentials::Password { username: "alice".to_owned(), password: "secret".to_owned() };
    assert_eq!(build(&handle, 1, &registry.image(), Some(password)).await, BuildProgress::Ready);
    let layer = layers(&host).remove(0);
    assert_eq!(std::fs::read(layer.join("from/the/image")).unwrap(), vec![7; 100_000]);
    assert!(std::fs::read_to_string(layer.join("etc/passwd")).unwrap().contains("user:x:1000:"));
    let seen = registry.shop.seen.lock().unwrap().clone();
    let token = seen.iter().find(|(path, ..)| path.starts_with("/token")).unwrap();
    assert_eq!(token.0, "/token?scope=repository:case/image:pull&service=the%20shop");
    assert_eq!(token.2.as_deref(), Some("Basic YWxpY2U6c2VjcmV0"));
    assert_eq!(seen.iter().filter(|(_, range, _)| range.is_some()).count(), 2, "it goes on where it was");
    assert!(!host.path().join("builds").join(BuildId::from_u128(1).to_string()).join("order.json").exists());
    assert_eq!(
        std::fs::read_dir(host.path().join("blobs")).unwrap().count(),
        0,
        "blobs go when they are unpacked"
    );
    assert_eq!(build(&handle, 2, &registry.image(), None).await, BuildProgress::Ready);
    assert!(log(&handle, 2).await.contains("CACHED [base]"), "the same image is unpacked once");
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_refused_and_leaves_nothing() {
    let registry = Registry::open(|_| {
        let mut shop = Shop::default();
        let layer = shop.stock();
        shop.files.get_mut(&format!("blobs/{layer}")).unwrap()[600] ^= 1;
        shop
    })
    .await;
    let host = Host::new();
    let handle = node(&host, plain(&registry)).await;
    let why = reason(build(&handle, 1, &registry.image(), None).await);
    assert!(why.contains("hashes to") && why.contains(&registry.image()), "{why}");
    assert_eq!(layers(&host).len(), 0);
    assert_eq!(std::fs::read_dir(host.path().join("blobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_image_that_is_larger_than_allowed_is_refused_and_leaves_nothing() {
    let registry = Registry::open(|_| {
        let mut shop = Shop::default();
        shop.stock();
        shop
    })
    .await;
    for (max_bytes, max_entries, expected) in
        [(50_000, 100, "larger than 50000 bytes"), (1 << 30, 0, "more than 0 entries")]
    {
        let host = Host::new();
        let images = ImageOptions { max_bytes, max_entries, ..plain(&registry) };
        let why = reason(build(&node(&host, images).await, 1, &registry.image(), None).await);
        assert!(why.contains(expected), "{why}");
        assert_eq!(layers(&host).len(), 0);
    }
}

#[tokio::test]
async fn a_layer_that_an_image_has_twice_is_unpacked_twice() {
    if !is_root() {
        return;
    }
    let packed = |path: &str, content: &[u8]| {
        let mut archive =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        archive.append_data(&mut header, path, content).unwrap();
        archive.into_inner().unwrap().finish().unwrap()
    };
    let registry = Registry::open(|_| {
        let mut shop = Shop::default();
        let file = shop.blob(&packed("from/file", b"there again"));
        let gone = shop.blob(&packed("from/.wh.file", b""));
        let config = shop.blob(br#"{"os":"linux"}"#);
        let layers = [file.clone(), gone, file];
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        shop.files.insert("manifests/v1".to_owned(), manifest.to_string().into_bytes());
        shop
    })
    .await;
    let host = Host::new();
    let handle = node(&host, plain(&registry)).await;
    assert_eq!(build(&handle, 1, &registry.image(), None).await, BuildProgress::Ready);
    assert_eq!(std::fs::read(layers(&host).remove(0).join("from/file")).unwrap(), b"there again");
}

#[tokio::test]
async fn credentials_stay_with_the_registry_that_redirects() {
    if !is_root() {
        return;
    }
    let storage = Registry::open(|_| {
        let mut shop = Shop::default();
        shop.stock();
        shop
    })
    .await;
    let elsewhere = storage.host.clone();
    let registry = Registry::open(|_| {
        let mut shop = Shop { token: Some("abc"), elsewhere: Some(elsewhere), ..Shop::default() };
        shop.stock();
        shop
    })
    .await;
    let host = Host::new();
    let mut images = plain(&registry);
    let why = reason(build(&node(&host, images.clone()).await, 1, &registry.image(), None).await);
    assert!(why.contains("without TLS, which images.plain_http does not allow"), "{why}");
    images.plain_http.push(storage.host.clone());
    let host = Host::new();
    assert_eq!(build(&node(&host, images).await, 1, &registry.image(), None).await, BuildProgress::Ready);
    assert!(storage.shop.seen.lock().unwrap().iter().all(|(_, _, authorization)| authorization.is_none()));
}

#[tokio::test]
async fn mirrors_are_asked_first_and_only_what_is_allowed_is_asked_at_all() {
    if !is_root() {
        return;
    }
    let mirror = Registry::open(|_| {
        let mut shop = Shop::default();
        shop.stock();
        shop
    })
    .await;
    let gone = "http://127.0.0.1:9".to_owned();
    let urls = vec![gone, format!("http://{}/", mirror.host)];
    let images = ImageOptions {
        mirrors: BTreeMap::from([("registry.invalid".to_owned(), urls)]),
        allowed: vec!["registry.invalid".to_owned()],
        ..ImageOptions::default()
    };
    let host = Host::new();
    let handle = node(&host, images).await;
    let password = Credentials::Password { username: "alice".to_owned(), password: "secret".to_owned() };
    let built = build(&handle, 1, "registry.invalid/case/image:v1", Some(password)).await;
    assert_eq!(built, BuildProgress::Ready);
    assert!(mirror.shop.seen.lock().unwrap().iter().all(|(_, _, authorization)| authorization.is_none()));
    let why = reason(build(&handle, 2, &mirror.image(), None).await);
    assert!(why.contains("images.allowed"), "{why}");
}

#[tokio::test]
async fn a_registry_out_of_reach_is_named_and_stand_ins_are_local() {
    let host = Host::new();
    let handle = node(&host, ImageOptions::default()).await;
    let why = reason(build(&handle, 1, "127.0.0.1:9/debian:stable", None).await);
    assert!(why.contains("127.0.0.1:9/debian:stable cannot be reached"), "{why}");
    let always = ImageOptions { stand_ins: warren_node::image::StandIns::Always, ..ImageOptions::default() };
    let host = Host::new();
    let handle = node(&host, always).await;
    assert_eq!(build(&handle, 1, "debian:stable", None).await, BuildProgress::Ready);
    assert!(log(&handle, 1).await.contains("stands in for debian:stable"));
}

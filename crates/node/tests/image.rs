//! Images from a registry that stands in for real ones: what it asks for, how it
//! breaks, and what the node makes of that. Real registries are met by the
//! black-box tests.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, or says that it is skipped"
)]

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::{BuildId, ByteSize, Resources, TeamId};
use sha2::Digest as _;
use support::Host;
use warren_node::build::{BuildFailure, BuildOrder, BuildProgress, LogLevel, LogPage, Source, Start};
use warren_node::image::{Credentials, ImageOptions};
use warren_node::{Handle, NodeOptions};

/// Whether this process may give files to others; images cannot be unpacked without.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: unpacking an image needs root");
    }
    root
}

/// A request: path, range and authorization.
type Seen = (String, Option<String>, Option<String>);

/// What the registry holds and how it behaves.
#[derive(Default)]
struct Shop {
    files: BTreeMap<String, Vec<u8>>,
    /// Wants this token.
    token: Option<&'static str>,
    /// Breaks off the first answers about this digest half-way.
    breaks: Mutex<BTreeMap<String, usize>>,
    /// Sends blobs elsewhere.
    elsewhere: Option<String>,
    seen: Mutex<Vec<Seen>>,
}

struct Registry {
    host: String,
    shop: Arc<Shop>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    async fn open(shop: impl FnOnce(&str) -> Shop) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shop = Arc::new(shop(&host));
        let task = tokio::spawn({
            let (shop, host) = (Arc::clone(&shop), host.clone());
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (shop, host) = (Arc::clone(&shop), host.clone());
                    tokio::spawn(async move {
                        let answer =
                            |request| std::future::ready(Ok::<_, Infallible>(shop.answer(&host, &request)));
                        let service = hyper::service::service_fn(answer);
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            }
        });
        Self { host, shop, task }
    }

    fn image(&self) -> String {
        format!("{}/case/image:v1", self.host)
    }
}

fn digest(content: &[u8]) -> String {
    Shop::hex(&sha2::Sha256::digest(content))
}

impl Shop {
    fn hex(hash: &[u8]) -> String {
        let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{}", digits.concat())
    }

    fn blob(&mut self, content: &[u8]) -> serde_json::Value {
        let digest = digest(content);
        self.files.insert(format!("blobs/{digest}"), content.to_vec());
        serde_json::json!({"digest": digest, "size": content.len(), "mediaType": "application/vnd.oci.image.layer.v1.tar"})
    }

    /// An image of one layer with one file; the layer's digest.
    fn stock(&mut self) -> String {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(100_000);
        header.set_mode(0o640);
        header.set_cksum();
        archive.append_data(&mut header, "from/the/image", &vec![7; 100_000][..]).unwrap();
        let layer = self.blob(&archive.into_inner().unwrap());
        let config = self.blob(br#"{"os":"linux","config":{"Env":["A=1"],"WorkingDir":"/from"}}"#);
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        self.files.insert("manifests/v1".to_owned(), manifest.to_string().into_bytes());
        layer["digest"].as_str().unwrap().to_owned()
    }

    fn answer(&self, host: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let header =
            |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let seen = (format!("{path}?{query}"), header("range"), header("authorization"));
        let authorization = seen.2.clone();
        self.seen.lock().unwrap().push(seen);
        if path == "/token" {
            return reply(200, format!(r#"{{"token":"{}"}}"#, self.token.unwrap()));
        }
        if let Some(token) = self.token
            && authorization.as_deref() != Some(&format!("Bearer {token}"))
        {
            let mut refused = reply(401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
            let asks = format!("Bearer realm=\"http://{host}/token\",service=\"the shop\"");
            refused.headers_mut().insert("www-authenticate", asks.parse().unwrap());
            return refused;
        }
        let name = path.strip_prefix("/v2/case/image/").unwrap_or_default();
        let Some(file) = self.files.get(name) else {
            return reply(404, r#"{"errors":[{"code":"UNKNOWN"}]}"#);
        };
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| name.starts_with("blobs/")) {
            let mut sent = reply(307, "");
            sent.headers_mut().insert("location", format!("http://{elsewhere}{path}").parse().unwrap());
            return sent;
        }
        self.file(name, file, header("range"))
    }

    fn file(&self, name: &str, file: &[u8], range: Option<String>) -> Response<Full<Bytes>> {
        let from =
            range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let rest = file[from.unwrap_or(0)..].to_vec();
        let whole = rest.len();
        let mut breaks = self.breaks.lock().unwrap();
        let left = breaks.get_mut(name).filter(|left| **left > 0);
        let rest = match left {
            Some(left) => {
                *left -= 1;
                rest[..whole / 2].to_vec()
            }
            None => rest,
        };
        reply(if from.is_some() { 206 } else { 200 }, rest)
    }
}

fn reply(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
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
    handle.start_build(order).await.unwrap();
    let ending = async {
        loop {
            match handle.build_progress(BuildId::from_u128(n)).await.unwrap() {
                BuildProgress::Building => tokio::time::sleep(Duration::from_millis(2)).await,
                progress => return progress,
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ending).await.expect("a build comes to its end")
}

async fn log(handle: &Handle, n: u128) -> String {
    let all = LogPage { offset: 0, limit: usize::MAX, level: LogLevel::Debug };
    let entries = handle.build_log(BuildId::from_u128(n), all).await.unwrap();
    entries.into_iter().map(|entry| entry.message).collect::<Vec<_>>().join("\n")
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

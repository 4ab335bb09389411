//! A registry that stands in for real ones: what it holds and how it behaves is
//! said by the test.

#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part; what cannot go on fails")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::BuildId;
use sha2::Digest as _;
use warren_node::Handle;
use warren_node::build::{BuildOrder, BuildProgress, LogLevel, LogPage};

/// A request: path, range and authorization.
pub(crate) type Seen = (String, Option<String>, Option<String>);

/// What the registry holds and how it behaves.
#[derive(Default)]
pub(crate) struct Shop {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Wants this token.
    pub(crate) token: Option<&'static str>,
    /// Breaks off the first answers about this digest half-way.
    pub(crate) breaks: Mutex<BTreeMap<String, usize>>,
    /// Sends blobs elsewhere.
    pub(crate) elsewhere: Option<String>,
    pub(crate) seen: Mutex<Vec<Seen>>,
}

pub(crate) struct Registry {
    pub(crate) host: String,
    pub(crate) shop: Arc<Shop>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    pub(crate) async fn open(shop: impl FnOnce(&str) -> Shop) -> Self {
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

    pub(crate) fn image(&self) -> String {
        format!("{}/case/image:v1", self.host)
    }
}

pub(crate) fn digest(content: &[u8]) -> String {
    Shop::hex(&sha2::Sha256::digest(content))
}

impl Shop {
    fn hex(hash: &[u8]) -> String {
        let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{}", digits.concat())
    }

    pub(crate) fn blob(&mut self, content: &[u8]) -> serde_json::Value {
        let digest = digest(content);
        self.files.insert(format!("blobs/{digest}"), content.to_vec());
        serde_json::json!({"digest": digest, "size": content.len(), "mediaType": "application/vnd.oci.image.layer.v1.tar"})
    }

    /// An image of one layer with one file; the layer's digest.
    pub(crate) fn stock(&mut self) -> String {
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

/// Builds, and waits for the end of it.
pub(crate) async fn build(handle: &Handle, order: BuildOrder, limit: Duration) -> BuildProgress {
    let id = order.build_id;
    handle.start_build(order).await.unwrap();
    let ending = async {
        loop {
            match handle.build_progress(id).await.unwrap() {
                BuildProgress::Building => tokio::time::sleep(Duration::from_millis(2)).await,
                progress => return progress,
            }
        }
    };
    tokio::time::timeout(limit, ending).await.expect("a build comes to its end")
}

/// What a build wrote.
pub(crate) async fn log(handle: &Handle, n: u128) -> String {
    let all = LogPage { offset: 0, limit: usize::MAX, level: LogLevel::Debug };
    let entries = handle.build_log(BuildId::from_u128(n), all).await.unwrap();
    entries.into_iter().map(|entry| entry.message).collect::<Vec<_>>().join("\n")
}

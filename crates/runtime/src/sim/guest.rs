//! The simulated guest's HTTP: enough of the control socket, of the daemon and of
//! the interpreter to start a sandbox, write and read a file and run a "process",
//! which may keep variables in the guest's memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use super::process;

/// The version that the simulated daemon reports: that of the real one.
pub const ENVD_VERSION: &str = "0.6.4";
/// Largest request body.
const BODY_LIMIT: usize = 16 << 20;

pub(super) type Answer = Response<Full<Bytes>>;

/// State of one simulated daemon.
#[derive(Debug)]
pub(super) struct Guest {
    memory: Mutex<Memory>,
    upper: PathBuf,
    bytes_written: AtomicU64,
}

/// What is lost when a machine ends, unless a checkpoint has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    init: Option<Value>,
    /// Whom it tells to have died for want of memory.
    #[serde(default)]
    oom_victims: Vec<Value>,
    /// How many asked the program of a trial.
    #[serde(default)]
    asked: u64,
    /// What that program called itself, from the first asker on.
    #[serde(default)]
    trial_name: Option<String>,
    /// What processes put there: see [`super::process`].
    pub(super) variables: BTreeMap<String, String>,
}

impl Memory {
    /// What an init leaves out stays as it was.
    fn take(&mut self, init: Value) {
        match (&mut self.init, init) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (now, init) => *now = Some(init),
        }
    }
}

impl Guest {
    pub(super) fn new(upper: PathBuf) -> Self {
        Self { memory: Mutex::default(), upper, bytes_written: AtomicU64::new(0) }
    }

    pub(super) fn init(&self) -> Option<Value> {
        self.lock().init.clone()
    }

    pub(super) fn memory(&self) -> Memory {
        self.lock().clone()
    }

    pub(super) fn remember(&self, memory: Memory) {
        *self.lock() = memory;
    }

    pub(super) fn runs_interpreter(&self) -> bool {
        self.lock().init.as_ref().is_some_and(|init| init["interpreter"] == true)
    }

    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    pub(super) fn starve(&self, victim: Value) {
        self.lock().oom_victims.push(victim);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no holder of this lock panics")
    }

    fn status(&self) -> Answer {
        let mut status = json!({ "envdVersion": ENVD_VERSION });
        if self.runs_interpreter() {
            status["interpreterReady"] = Value::Bool(true);
        }
        let victims = self.lock().oom_victims.clone();
        if !victims.is_empty() {
            status["oomVictims"] = Value::Array(victims);
        }
        answer(StatusCode::OK, status.to_string())
    }

    /// A path below the writable layer; `..` and the like are refused.
    pub(super) fn path(&self, path: &Path) -> std::io::Result<PathBuf> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        Ok(self.upper.join(inside))
    }

    fn write(&self, path: &Path, content: &[u8]) -> std::io::Result<()> {
        let target = self.path(path)?;
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(target, content)?;
        self.bytes_written.fetch_add(content.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

pub(super) fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

async fn body(request: Request<Incoming>) -> Option<Bytes> {
    Limited::new(request.into_body(), BODY_LIMIT)
        .collect()
        .await
        .ok()
        .map(http_body_util::Collected::to_bytes)
}

async fn control(guest: Arc<Guest>, request: Request<Incoming>) -> Answer {
    match (request.method().clone(), request.uri().path()) {
        (Method::POST, "/init") => {
            let bytes = body(request).await.unwrap_or_default();
            match serde_json::from_slice(&bytes) {
                Ok(init) => {
                    guest.lock().take(init);
                    guest.status()
                }
                Err(e) => answer(StatusCode::BAD_REQUEST, e.to_string()),
            }
        }
        (Method::GET, "/status") | (Method::POST, "/rest") => guest.status(),
        _ => answer(StatusCode::NOT_FOUND, ""),
    }
}

async fn envd(guest: Arc<Guest>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    match (request.method().clone(), path.as_str()) {
        (Method::GET, "/health") => answer(StatusCode::NO_CONTENT, ""),
        (Method::GET, "/metrics") => answer(StatusCode::OK, json!({ "cpu_count": 1 }).to_string()),
        (Method::POST, "/files") => upload(&guest, request).await,
        (Method::GET, "/files") => download(&guest, request.uri().query()),
        (Method::POST, "/process.Process/Start") => match body(request).await {
            Some(bytes) => process::start(&guest, &bytes),
            None => answer(StatusCode::PAYLOAD_TOO_LARGE, ""),
        },
        _ => answer(StatusCode::NOT_FOUND, ""),
    }
}

async fn upload(guest: &Guest, request: Request<Incoming>) -> Answer {
    let path = wanted(request.uri().query());
    let (Some(path), Some(content)) = (path, body(request).await) else {
        return answer(StatusCode::BAD_REQUEST, "");
    };
    match guest.write(Path::new(&path), &content) {
        Ok(()) => answer(StatusCode::OK, json!([{ "path": path, "type": "file" }]).to_string()),
        Err(e) => answer(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

fn download(guest: &Guest, query: Option<&str>) -> Answer {
    let Some(path) = wanted(query) else { return answer(StatusCode::BAD_REQUEST, "") };
    match guest.path(Path::new(&path)).and_then(std::fs::read) {
        Ok(content) => answer(StatusCode::OK, content),
        Err(e) => answer(StatusCode::NOT_FOUND, e.to_string()),
    }
}

fn wanted(query: Option<&str>) -> Option<String> {
    query?.split('&').find_map(|pair| pair.strip_prefix("path=")).map(percent_decoded)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let decoded = hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn serve<F, R>(stream: DuplexStream, handle: F)
where
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answered = handle(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    // The client going away is the ordinary end of a connection.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

pub(super) async fn serve_control(guest: Arc<Guest>, stream: DuplexStream) {
    serve(stream, |request| control(Arc::clone(&guest), request)).await;
}

/// Tells an asker the name that stands in the memory, and the next number.
pub(super) async fn serve_trial(guest: Arc<Guest>, mut stream: DuplexStream) {
    let line = {
        let mut memory = guest.lock();
        memory.asked = memory.asked.saturating_add(1);
        let own = || guest.upper.display().to_string();
        let name = memory.trial_name.get_or_insert_with(own).clone();
        format!("{name} {}\n", memory.asked)
    };
    // An asker that is gone asks again.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, line.as_bytes()).await;
}

pub(super) async fn serve_envd(guest: Arc<Guest>, stream: DuplexStream) {
    serve(stream, |request| envd(Arc::clone(&guest), request)).await;
}

pub(super) async fn serve_interpreter(stream: DuplexStream) {
    serve(stream, |request| {
        let found = request.uri().path() == "/health";
        std::future::ready(if found {
            answer(StatusCode::OK, "\"Healthy\"")
        } else {
            answer(StatusCode::NOT_FOUND, "")
        })
    })
    .await;
}

//! A service on a port of its own, and a client that reads its lines.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use warren_guest::interpreter::{InterpreterConfig, KernelSpawner, Rest, TokioSpawner, serve};
use wire::execute::{Display, Failure, Item};

use crate::skip::skip;

type Envs = Arc<Mutex<BTreeMap<String, String>>>;

/// A running service.
pub(crate) struct Service {
    address: SocketAddr,
    pub(crate) home: tempfile::TempDir,
    pub(crate) envs: Envs,
    pub(crate) ready: watch::Receiver<bool>,
    _server: tokio::task::JoinSet<()>,
}

/// Runs `test` against a fresh service, or says that it was skipped.
pub(crate) fn with_service<F: Future<Output = ()>>(test: impl FnOnce(Service) -> F) {
    let Ok(python) = std::env::var("WARREN_TEST_PYTHON") else {
        return skip("WARREN_TEST_PYTHON names no Python with ipykernel");
    };
    run(Path::new(&python), Arc::new(TokioSpawner), true, test);
}

/// The same with kernels of another kind; needs no Python.
pub(crate) fn with_spawner<F: Future<Output = ()>>(
    spawn: Arc<dyn KernelSpawner>,
    test: impl FnOnce(Service) -> F,
) {
    run(Path::new("/nowhere"), spawn, false, test);
}

fn run<F: Future<Output = ()>>(
    python: &Path,
    spawn: Arc<dyn KernelSpawner>,
    forks: bool,
    test: impl FnOnce(Service) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let service = Service::start(python, spawn, forks).await;
        tokio::time::timeout(Duration::from_mins(2), test(service)).await.expect("the test ends in time");
    });
}

impl Service {
    async fn start(python: &Path, spawn: Arc<dyn KernelSpawner>, forks: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        // Without the template's fonts each chart would warn about them.
        let rc = home.path().join("matplotlibrc");
        std::fs::write(&rc, "").unwrap();
        // Whoever runs the tests may have an IPython configuration, which changes how kernels start.
        let ipython = home.path().join(".ipython");
        // Where matplotlib keeps the fonts that it found, once for all.
        let fonts = Path::new(env!("CARGO_TARGET_TMPDIR")).join("matplotlib");
        let base = [("MATPLOTLIBRC", rc), ("MPLCONFIGDIR", fonts), ("IPYTHONDIR", ipython)];
        let base = base.map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned()));
        let base = BTreeMap::from(base);
        let envs: Envs = Arc::new(Mutex::new(base));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, ready) = watch::channel(false);
        let shared = Arc::clone(&envs);
        let config = InterpreterConfig {
            envs: Arc::new(move || shared.lock().unwrap().clone()),
            ready: sender,
            python: python.to_owned(),
            files: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates/code-interpreter/interpreter"),
            cwd: home.path().to_owned(),
            run_dir: home.path().join("run"),
            forks: Arc::new(move || forks),
            rest: Rest::default(),
            spawn,
        };
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { serve(listener, config).await.unwrap() });
        Self { address, home, envs, ready, _server: server }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Sends a request and gives the response as soon as its headers are there.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &str) -> http::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        sender.send_request(request).await.unwrap()
    }

    /// Status and whole body.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &str) -> (StatusCode, String) {
        let response = self.send(method, path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Runs code in the default context.
    pub(crate) async fn run(&self, code: &str) -> Cell {
        self.execute(json!({ "code": code })).await
    }

    /// Runs a whole request.
    pub(crate) async fn execute(&self, request: Value) -> Cell {
        let (status, body) = self.call(Method::POST, "/execute", &request.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(body.is_ascii());
        Cell(body.lines().map(|line| serde_json::from_str(line).expect(line)).collect())
    }

    /// Makes a context; its id.
    pub(crate) async fn context(&self, request: Value) -> String {
        let (status, body) = self.call(Method::POST, "/contexts", &request.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str::<wire::execute::Context>(&body).unwrap().id
    }
}

/// The lines of an execution.
#[derive(Debug)]
pub(crate) struct Cell(pub(crate) Vec<Item>);

impl Cell {
    pub(crate) fn stdout(&self) -> String {
        self.0
            .iter()
            .filter_map(
                |item| if let Item::Stdout(output) = item { Some(output.text.as_str()) } else { None },
            )
            .collect()
    }

    pub(crate) fn stderr(&self) -> String {
        self.0
            .iter()
            .filter_map(
                |item| if let Item::Stderr(output) = item { Some(output.text.as_str()) } else { None },
            )
            .collect()
    }

    pub(crate) fn results(&self) -> Vec<&Display> {
        self.0
            .iter()
            .filter_map(|item| if let Item::Result(display) = item { Some(&**display) } else { None })
            .collect()
    }

    /// Text of the main result.
    pub(crate) fn text(&self) -> Option<&str> {
        self.results().into_iter().find(|display| display.is_main_result)?.text.as_deref()
    }

    /// The one failure, if there is one.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        let failures: Vec<_> = self
            .0
            .iter()
            .filter_map(|item| if let Item::Error(failure) = item { Some(failure) } else { None })
            .collect();
        assert!(failures.len() <= 1, "{failures:?}");
        failures.first().copied()
    }

    /// Fails the test unless the cell ended well and properly.
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.failure(), None);
        assert_eq!(self.0.last(), Some(&Item::EndOfExecution));
        self
    }
}

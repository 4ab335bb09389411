//! A proxy on a free port, and sandboxes whose ports are plain listeners.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use model::SandboxId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use warren_proxy::{BoxFuture, Connection, Dial, DialError, Lookup, Proxy, ProxyOptions, Resolve, Route};

/// The sandbox of the tests.
pub(crate) const ID: &str = "iabc";
/// What its daemon would demand.
pub(crate) const TOKEN: &str = "secret-token";

#[derive(Debug, Default)]
pub(crate) struct Sandbox {
    ports: Mutex<HashMap<u16, u16>>,
    pub(crate) dials: AtomicUsize,
}

impl Sandbox {
    /// A listener that `port` of the sandbox leads to.
    pub(crate) async fn listen(&self, port: u16) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.ports.lock().unwrap().insert(port, listener.local_addr().unwrap().port());
        listener
    }
}

impl Dial for Sandbox {
    fn dial(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let outside = self.ports.lock().unwrap().get(&port).copied();
        Box::pin(async move {
            let outside = outside.ok_or(DialError::Closed(port))?;
            let stream = TcpStream::connect(("127.0.0.1", outside)).await;
            let stream = stream.map_err(|_| DialError::Closed(port))?;
            stream.set_nodelay(true).unwrap();
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}

#[derive(Debug)]
struct Routes(Mutex<HashMap<SandboxId, Route>>);

impl Resolve for Routes {
    fn resolve<'a>(&'a self, sandbox_id: &'a SandboxId) -> BoxFuture<'a, Lookup> {
        let route = self.0.lock().unwrap().get(sandbox_id).cloned();
        Box::pin(async move { route.map_or(Lookup::NotFound(None), Lookup::Running) })
    }

    fn signer(&self, url: &wire::files::SignedUrl) -> Option<SandboxId> {
        url.is_opened_by(TOKEN).then(|| ID.parse().unwrap())
    }
}

pub(crate) struct World {
    pub(crate) port: u16,
    pub(crate) sandbox: Arc<Sandbox>,
    routes: Arc<Routes>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) proxy: Proxy,
    pub(crate) options: ProxyOptions,
    pub(crate) serving: tokio::task::JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ProxyOptions::default()).await
    }

    pub(crate) async fn with(options: ProxyOptions) -> Self {
        let sandbox = Arc::new(Sandbox::default());
        let routes = Arc::new(Routes(Mutex::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shutdown = CancellationToken::new();
        let proxy = Proxy::new(options.clone(), Arc::clone(&routes) as Arc<dyn Resolve>);
        let serving = tokio::spawn(proxy.clone().serve(listener, tower::service_fn(api), shutdown.clone()));
        let world = Self { port, sandbox, routes, shutdown, proxy, options, serving };
        world.restart(1);
        world
    }

    /// Puts another generation of the sandbox in place; gives its end signal.
    pub(crate) fn restart(&self, generation: u64) -> CancellationToken {
        let ended = CancellationToken::new();
        let route = Route {
            sandbox_id: ID.parse().unwrap(),
            generation,
            dial: Arc::clone(&self.sandbox) as Arc<dyn Dial>,
            ended: ended.clone(),
        };
        self.routes.0.lock().unwrap().insert(ID.parse().unwrap(), route);
        ended
    }

    /// Ends the sandbox as a kill does: first it cannot be found, then the signal.
    pub(crate) fn kill(&self) {
        let route = self.routes.0.lock().unwrap().remove(&ID.parse().unwrap()).unwrap();
        route.ended.cancel();
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(("127.0.0.1", self.port)).await.unwrap())
    }

    /// One GET on a connection of its own; status and body.
    pub(crate) async fn get(&self, host: &str, path: &str, headers: &str) -> (u16, String) {
        let mut client = self.connect().await;
        client
            .send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n"))
            .await;
        let text = client.rest().await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }
}

/// Answers with the path, or with the scheme that it sees of the client's connection.
async fn api(request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let scheme = request.uri().scheme().or_else(|| request.extensions().get());
    let shown = match request.uri().path() {
        "/scheme" => scheme.map_or("none", http::uri::Scheme::as_str),
        path => path,
    };
    Ok(Response::new(Full::from(format!("api {shown}"))))
}

/// A client that reads and writes bytes.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes until this text stood.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let n = self.0.read_buf(&mut seen).await.unwrap();
            assert_ne!(n, 0, "closed after {:?}", String::from_utf8_lossy(&seen));
        }
        String::from_utf8(seen).unwrap()
    }

    /// What comes until the other side closes.
    pub(crate) async fn rest(&mut self) -> std::io::Result<String> {
        let mut seen = Vec::new();
        self.0.read_to_end(&mut seen).await?;
        Ok(String::from_utf8_lossy(&seen).into_owned())
    }
}

/// Answers every request on every connection with its own request text.
pub(crate) async fn echo(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut client = Client(stream);
            let mut head = Vec::new();
            while client.0.read_buf(&mut head).await.unwrap_or(0) > 0 {
                if head.ends_with(b"\r\n\r\n") {
                    let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                    client
                        .send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
                        .await;
                }
            }
        });
    }
}

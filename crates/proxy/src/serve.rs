//! Listeners: who is accepted, and which of the walks a request takes.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use model::SandboxId;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::body::{Body, BoxError};
use crate::client::Traffic;
use crate::forward::Forwarder;
use crate::options::ProxyOptions;
use crate::target::{self, BadTarget, Target};
use crate::upstream::Upstreams;
use crate::{Resolve, connection, preflight, reply, signed};

/// The wait after an accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Carries requests to sandboxes. Cheap to clone; clones share their pools and
/// limits.
#[derive(Debug, Clone)]
pub struct Proxy {
    forwarder: Arc<Forwarder>,
    places: Arc<Semaphore>,
}

impl Proxy {
    /// A proxy that serves nothing yet.
    pub fn new(options: ProxyOptions, resolve: Arc<dyn Resolve>) -> Self {
        let places = Arc::new(Semaphore::new(options.max_connections));
        let (upstreams, tasks) = (Arc::new(Upstreams::default()), TaskTracker::new());
        Self { forwarder: Arc::new(Forwarder { options, resolve, upstreams, tasks }), places }
    }

    /// Serves a listener until `shutdown`: sandbox traffic to sandboxes, the
    /// rest to `fallback`. Then waits for running requests, as long as
    /// [`ProxyOptions::drain_timeout`] says. Dropping the future leaves open
    /// connections to themselves.
    pub async fn serve<S, F>(self, listener: TcpListener, fallback: S, shutdown: CancellationToken)
    where
        S: tower::Service<Request<Incoming>, Response = Response<F>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        F: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        F::Error: Into<BoxError>,
    {
        let forwarder = Arc::clone(&self.forwarder);
        let route = move |request: Request<Incoming>, traffic: Arc<Traffic>| {
            let (forwarder, fallback) = (Arc::clone(&forwarder), fallback.clone());
            async move {
                match main_target(&request, &forwarder.options) {
                    Ok(Target::Sandbox { sandbox_id, port }) => {
                        forwarder.answer(request, &sandbox_id, port, &traffic).await
                    }
                    Ok(Target::Fallback) if signed::is_signed(&request) => {
                        signed::answer(&forwarder, request, &traffic).await
                    }
                    Ok(Target::Fallback) => {
                        if let Some(answer) = preflight::answer(request.method(), request.headers()) {
                            return answer.map(|body| Body::Own(Full::new(body)));
                        }
                        match fallback.oneshot(request).await {
                            Ok(response) => response.map(Body::Fallback),
                            Err(never) => match never {},
                        }
                    }
                    Err(error) => reply::bad_target(error).map(|body| Body::Own(Full::new(body))),
                }
            }
        };
        self.accept(listener, route, shutdown).await;
    }

    /// Serves a listener that leads to no sandbox, to programs of this machine:
    /// the `Host` must be a loopback name or address, as for the debug ports.
    pub async fn serve_alone<S, F>(self, listener: TcpListener, service: S, shutdown: CancellationToken)
    where
        S: tower::Service<Request<Incoming>, Response = Response<F>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        F: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        F::Error: Into<BoxError>,
    {
        let route = move |request: Request<Incoming>, _: Arc<Traffic>| {
            let service = service.clone();
            async move {
                if !is_local(&request) {
                    let refusal = "This port answers only local hosts and local pages";
                    return reply::text(StatusCode::FORBIDDEN, refusal)
                        .map(|body| Body::Own(Full::new(body)));
                }
                match service.oneshot(request).await {
                    Ok(response) => response.map(Body::Fallback),
                    Err(never) => match never {},
                }
            }
        };
        self.accept(listener, route, shutdown).await;
    }

    /// Serves one port of the debug sandbox, whatever the request's headers
    /// say. Only programs of this machine are let through: the `Host` must be a
    /// loopback name or address, and so must the `Origin` of a web page.
    pub async fn serve_debug_port(
        self,
        listener: TcpListener,
        port: u16,
        sandbox_id: SandboxId,
        shutdown: CancellationToken,
    ) {
        let forwarder = Arc::clone(&self.forwarder);
        let route = move |request: Request<Incoming>, traffic: Arc<Traffic>| {
            let (forwarder, sandbox_id) = (Arc::clone(&forwarder), sandbox_id.clone());
            async move {
                if is_local(&request) {
                    return forwarder.answer::<Full<Bytes>>(request, &sandbox_id, port, &traffic).await;
                }
                let refusal = "The debug ports answer only local hosts and local pages";
                reply::text(StatusCode::FORBIDDEN, refusal).map(|body| Body::Own(Full::new(body)))
            }
        };
        self.accept(listener, route, shutdown).await;
    }

    async fn accept<R, A, F>(self, listener: TcpListener, route: R, shutdown: CancellationToken)
    where
        R: Fn(Request<Incoming>, Arc<Traffic>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body<F>>> + Send + 'static,
        F: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        F::Error: Into<BoxError>,
    {
        let connections = TaskTracker::new();
        if let Err(error) = watch_for_dead_peers(&listener) {
            tracing::warn!(%error, "clients that vanish will be noticed only when written to");
        }
        loop {
            let next = async {
                let permit = Arc::clone(&self.places).acquire_owned().await;
                (listener.accept().await, permit)
            };
            let Some((accepted, permit)) = shutdown.run_until_cancelled(next).await else { break };
            match (accepted, permit) {
                (Ok((stream, _)), Ok(permit)) => {
                    let (forwarder, stop) = (Arc::clone(&self.forwarder), shutdown.clone());
                    let route = route.clone();
                    let open = forwarder.options.counts.open();
                    connections.spawn(async move {
                        connection::serve(stream, route, &forwarder.options, stop).await;
                        drop((permit, open));
                    });
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (_, Err(_closed)) => break,
            }
        }
        connections.close();
        let drained = tokio::time::timeout(self.forwarder.options.drain_timeout, connections.wait()).await;
        if drained.is_err() {
            tracing::info!(connections = connections.len(), "leaving connections that are still busy");
        }
    }
}

/// Accepted sockets inherit this: a client that vanished without a word gives
/// its place back after two minutes, even where nothing is ever sent (a silent
/// WebSocket).
fn watch_for_dead_peers(listener: &TcpListener) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, Duration::from_mins(1))?;
    sockopt::set_tcp_keepintvl(listener, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(listener, 4)
}

fn main_target(request: &Request<Incoming>, options: &ProxyOptions) -> Result<Target, BadTarget> {
    // A sandbox is no way out: CONNECT names a destination of its own.
    if request.method() == Method::CONNECT {
        return Err(BadTarget::Host);
    }
    let host = host(request.uri(), request.headers())?;
    target::parse(host, request.uri().path(), request.headers(), &options.hosts)
}

/// The authority of the request line outranks the header; two headers that
/// differ mean that someone on the way reads another one than we do.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, BadTarget> {
    let mut named = headers.get_all(HOST).iter();
    let first = named.next();
    if named.any(|other| Some(other) != first) {
        return Err(BadTarget::Host);
    }
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    first.map(|host| host.to_str().map_err(|_| BadTarget::Host)).transpose()
}

fn is_local(request: &Request<Incoming>) -> bool {
    let host = host(request.uri(), request.headers());
    let origin = request.headers().get("origin").map(|origin| origin.to_str().unwrap_or_default());
    request.method() != Method::CONNECT
        && matches!(host, Ok(Some(host)) if target::is_local(host))
        && origin
            .is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| target::is_local(host)))
}

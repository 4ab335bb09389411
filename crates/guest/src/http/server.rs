//! Accepting connections and serving each with hyper.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;

use super::request::keep;
use super::{Request, Response};

/// After an accept that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);
/// A client may take this long for the head of a request, and idle that long
/// between two: longer than the 300 s of the clients' pools.
const IDLE: Duration = Duration::from_secs(640);

/// Serves every connection of `listener` with `handler` until the daemon ends.
pub(crate) async fn serve<H>(listener: TcpListener, limit: Rc<Connections>, handler: H)
where
    H: AsyncFn(Request) -> Response + Clone + 'static,
{
    loop {
        let permit = limit.acquire().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without this a reply of several pieces waits for the client's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                spawn_local(connection(stream, handler.clone(), permit));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Bounds the connections of several listeners together.
#[derive(Debug)]
pub(crate) struct Connections(std::sync::Arc<Semaphore>);

impl Connections {
    /// At most this many at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self(std::sync::Arc::new(Semaphore::new(most)))
    }

    /// Waits for room for one more.
    pub(crate) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        // Fails only for a closed semaphore; this one never is.
        std::sync::Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// Serves one connection until either side closes it.
pub(crate) async fn connection<S, H>(stream: S, handler: H, permit: Option<OwnedSemaphorePermit>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: AsyncFn(Request) -> Response + Clone + 'static,
{
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move {
            let (request, rest) = keep(request);
            let response = handler(request).await;
            rest.discard().await;
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE).half_close(false);
    // A connection that breaks concerns only its client, who knows.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    drop(permit);
    crate::memory::work_ended();
}

/// Both listeners of a port: IPv4 and IPv6; one is enough where the other is not there.
pub(crate) fn listen(addresses: &[std::net::SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let mut failure = None;
    for address in addresses {
        match bind(*address) {
            Ok(listener) => listeners.push(listener),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn bind(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Else it would take the IPv4 port too and collide with the other listener.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, 1024)?;
    TcpListener::from_std(socket.into())
}

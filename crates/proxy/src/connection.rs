//! One client's connection from its first byte to its last: plain or TLS,
//! HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::{Body, BoxError};
use crate::client::{ClientIo, Stream, Traffic};
use crate::options::ProxyOptions;
use crate::reply;
use crate::tls::{self, Opened};

/// Streams at once on one HTTP/2 connection. Clients open further connections
/// above a hundred; commands that run for hours each hold one.
const MAX_STREAMS: u32 = 250;

/// What a client may send on one stream, and on all of a connection, before we
/// have taken it on: what a fast upload over a long way needs.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What one stream holds of an answer that its client does not take.
const SEND_BUFFER: usize = 256 << 10;

/// As HTTP/1.1 allows here: about what a hundred long header lines take.
const MAX_HEADERS: u32 = 64 << 10;

/// A client that vanished is noticed even where nothing is sent.
const PING: Duration = Duration::from_mins(1);

/// Serves one client until it leaves, the sandbox it talks to ends (HTTP/1.1),
/// or the server shuts down and what runs is answered. One that connects and
/// asks nothing has its place only for a short while.
pub(crate) async fn serve<R, A, F>(
    stream: TcpStream,
    route: R,
    options: &ProxyOptions,
    shutdown: CancellationToken,
) where
    R: Fn(Request<Incoming>, Arc<Traffic>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body<F>>> + Send + 'static,
    F: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    F::Error: Into<BoxError>,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client left at once");
    }
    let opening = tokio::time::timeout(options.first_head_timeout, tls::open(options.tls.as_ref(), stream));
    // One that said nothing yet has nothing to finish.
    let Some(opened) = shutdown.run_until_cancelled(opening).await else { return };
    match opened {
        Ok(Ok(Opened::Http1(stream))) => over_http1(stream, route, options, shutdown).await,
        Ok(Ok(Opened::Http2(stream))) => over_http2(stream, route, options, shutdown).await,
        Ok(Ok(Opened::Refused(stream))) => {
            let refuse = |_, _| async {
                let text = "This address speaks HTTPS only";
                reply::text(StatusCode::BAD_REQUEST, text)
                    .map(|body| Body::<Full<Bytes>>::Own(Full::new(body)))
            };
            over_http1(stream, refuse, options, shutdown).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a client's connection did not open"),
        Err(_elapsed) => tracing::debug!("a client's connection did not open in time"),
    }
}

async fn over_http1<R, A, F>(stream: Stream, route: R, options: &ProxyOptions, shutdown: CancellationToken)
where
    R: Fn(Request<Incoming>, Arc<Traffic>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body<F>>> + Send + 'static,
    F: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    F::Error: Into<BoxError>,
{
    let traffic = Arc::new(Traffic::default());
    let has_asked = AtomicBool::new(false);
    let scheme = stream.scheme();
    let service = service_fn(|mut request: Request<Incoming>| {
        // In a request of HTTP/2 its target says so.
        request.extensions_mut().insert(scheme.clone());
        has_asked.store(true, Ordering::Relaxed);
        let answer = route(request, Arc::clone(&traffic));
        async { Ok::<_, Infallible>(answer.await) }
    });
    let io = ClientIo::new(stream, Arc::clone(&traffic));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(options.idle_timeout);
    let mut serving = pin!(builder.serve_connection(io, service).with_upgrades());
    let mut first_head = pin!(tokio::time::sleep(options.first_head_timeout));
    let watch = |cx: &mut Context<'_>| {
        if !has_asked.load(Ordering::Relaxed) && first_head.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // After the service was polled: only then is it known whose traffic this is.
        traffic.poll_ended(cx).map(|()| traffic.reset_on_drop())
    };
    steer(&mut serving, http1::UpgradeableConnection::graceful_shutdown, watch, shutdown).await;
}

async fn over_http2<R, A, F>(stream: Stream, route: R, options: &ProxyOptions, shutdown: CancellationToken)
where
    R: Fn(Request<Incoming>, Arc<Traffic>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body<F>>> + Send + 'static,
    F: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    F::Error: Into<BoxError>,
{
    // Every stream holds a clone until its answer is through.
    let streams = Arc::new(());
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let answer = route(request, Arc::new(Traffic::of_stream(&streams)));
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http2::Builder::new(Tasks(TaskTracker::new()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // The first wait is for the first head; later ones see whether anything was
    // asked, or is still being answered, since the one before.
    let mut wait = pin!(tokio::time::sleep(options.first_head_timeout));
    let watch = |cx: &mut Context<'_>| {
        while wait.as_mut().poll(cx).is_ready() {
            if !asked.swap(false, Ordering::Relaxed) && Arc::strong_count(&streams) == 1 {
                return Poll::Ready(());
            }
            wait.as_mut().reset(tokio::time::Instant::now() + options.idle_timeout);
        }
        Poll::Pending
    };
    steer(&mut serving, http2::Connection::graceful_shutdown, watch, shutdown).await;
}

/// Serves until the connection is done or `watch` is ready, which drops it; on
/// shutdown it is asked to finish.
async fn steer<C, O>(
    serving: &mut Pin<&mut C>,
    finish: impl Fn(Pin<&mut C>),
    mut watch: impl FnMut(&mut Context<'_>) -> Poll<()>,
    shutdown: CancellationToken,
) where
    C: Future<Output = O>,
    O: std::fmt::Debug,
{
    let mut stopping = Some(Box::pin(shutdown.cancelled_owned()));
    poll_fn(|cx| {
        if let Some(stop) = &mut stopping
            && stop.as_mut().poll(cx).is_ready()
        {
            finish(serving.as_mut());
            stopping = None;
        }
        if let Poll::Ready(outcome) = serving.as_mut().poll(cx) {
            tracing::trace!(?outcome, "a client's connection closed");
            return Poll::Ready(());
        }
        watch(cx)
    })
    .await;
}

/// Streams run as tasks of their own; they end with their connection.
#[derive(Debug, Clone)]
struct Tasks(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

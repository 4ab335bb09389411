//! A client's connection, and how it is cut when the sandbox behind it ends.
//!
//! While a request or a tunnel is carried, the connection holds the sandbox's
//! end signal. When that fires the connection is dropped with a reset, not a
//! farewell: the client must not take half a stream for a whole one. Of HTTP/2
//! only the stream is reset: others share its connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What one client connection (HTTP/1.1, which answers one request at a time) or
/// one stream (HTTP/2) carries now: at most one sandbox is in it.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Of a stream: counts it as one of its connection's.
    stream: Option<Arc<()>>,
    ended: Mutex<Option<Pin<Box<WaitForCancellationFutureOwned>>>>,
    reset: AtomicBool,
}

impl Traffic {
    /// Traffic of one of several streams, which holds a clone of the connection's count.
    pub(crate) fn of_stream(streams: &Arc<()>) -> Self {
        Self { stream: Some(Arc::clone(streams)), ..Self::default() }
    }

    /// Whether its end is told by the body, since the connection goes on.
    pub(crate) fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// From now on the connection lives no longer than this sandbox.
    pub(crate) fn begin(&self, ended: &CancellationToken) {
        *self.slot() = Some(Box::pin(ended.clone().cancelled_owned()));
    }

    /// The request is over; the connection may go on to serve others.
    pub(crate) fn end(&self) {
        *self.slot() = None;
    }

    /// Makes dropping the connection a reset.
    pub(crate) fn reset_on_drop(&self) {
        self.reset.store(true, Ordering::Release);
    }

    /// Ready when the sandbox that is being carried ended.
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.slot().as_mut() {
            Some(ended) => ended.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Pin<Box<WaitForCancellationFutureOwned>>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's socket, with or without TLS on it.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// As URLs name it.
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Self::Plain(_) => Scheme::HTTP,
            Self::Tls(_) => Scheme::HTTPS,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}

/// The bytes of a client's HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct ClientIo {
    stream: TokioIo<Stream>,
    traffic: Arc<Traffic>,
}

impl ClientIo {
    pub(crate) fn new(stream: Stream, traffic: Arc<Traffic>) -> Self {
        Self { stream: TokioIo::new(stream), traffic }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        if self.traffic.reset.load(Ordering::Acquire)
            && let Err(error) = self.stream.inner().tcp().set_zero_linger()
        {
            tracing::debug!(%error, "a connection is closed, not reset");
        }
    }
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

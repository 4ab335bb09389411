//! A client's connection, and how it is cut when the sandbox behind it ends.
//!
//! While a request or a tunnel is carried, the connection holds the sandbox's
//! end signal. When that fires the connection is dropped with a reset, not a
//! farewell: the client must not take half a stream for a whole one.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What one client connection carries now. HTTP/1.1 answers one request at a
/// time, so there is at most one sandbox in it.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    ended: Mutex<Option<Pin<Box<WaitForCancellationFutureOwned>>>>,
    reset: AtomicBool,
}

impl Traffic {
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

/// The bytes of a client's connection.
#[derive(Debug)]
pub(crate) struct ClientIo {
    stream: TokioIo<TcpStream>,
    traffic: Arc<Traffic>,
}

impl ClientIo {
    pub(crate) fn new(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self { stream: TokioIo::new(stream), traffic }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        if self.traffic.reset.load(Ordering::Acquire)
            && let Err(error) = self.stream.inner().set_zero_linger()
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
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

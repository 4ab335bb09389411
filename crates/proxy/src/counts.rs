//! What passed through, counted for the operator.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::exposition::{Family, Kind, count};

use crate::Connection;
use crate::reply::Refusal;

/// Counts of one proxy, or of several that share them.
#[derive(Debug, Default)]
pub struct Counts {
    accepted: AtomicU64,
    closed: AtomicU64,
    carried: AtomicU64,
    tunnels: AtomicU64,
    dials: AtomicU64,
    to_sandboxes: AtomicU64,
    from_sandboxes: AtomicU64,
    refused: [AtomicU64; Refusal::NAMES.len()],
}

/// One client's connection, counted as open until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        add(&self.0.closed, 1);
    }
}

impl Counts {
    pub(crate) fn open(self: &Arc<Self>) -> Open {
        add(&self.accepted, 1);
        Open(Arc::clone(self))
    }

    pub(crate) fn note_carried(&self) {
        add(&self.carried, 1);
    }

    pub(crate) fn note_tunnel(&self) {
        add(&self.tunnels, 1);
    }

    pub(crate) fn note_refusal(&self, refusal: &Refusal) {
        add(&self.refused[refusal.index()], 1);
    }

    /// A connection into a sandbox whose bytes are counted.
    pub(crate) fn counted(self: &Arc<Self>, inner: Box<dyn Connection>) -> Counted {
        add(&self.dials, 1);
        Counted { inner, counts: Arc::clone(self) }
    }

    /// For the operator's page.
    pub fn families(&self) -> Vec<Family> {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Closed ones first: an open one must not be counted as gone.
        let closed = now(&self.closed);
        let accepted = now(&self.accepted);
        let refused = Refusal::NAMES.iter().zip(&self.refused).fold(
            Family::new(
                "warren_proxy_refusals_total",
                Kind::Counter,
                "Requests for a sandbox that the proxy answered itself.",
            ),
            |family, (name, n)| family.with(&[("reason", name)], count(now(n))),
        );
        vec![
            Family::counter("warren_proxy_connections_total", "Connections of clients.", accepted),
            Family::gauge(
                "warren_proxy_connections_open",
                "Connections of clients that are open.",
                count(accepted.saturating_sub(closed)),
            ),
            Family::counter(
                "warren_proxy_requests_total",
                "Requests that a sandbox answered.",
                now(&self.carried),
            ),
            Family::counter(
                "warren_proxy_tunnels_total",
                "WebSockets and other switches of protocol.",
                now(&self.tunnels),
            ),
            Family::counter("warren_proxy_dials_total", "Connections into sandboxes.", now(&self.dials)),
            Family::new(
                "warren_proxy_bytes_total",
                Kind::Counter,
                "Bytes to and from sandboxes, heads included.",
            )
            .with(&[("direction", "to_sandbox")], count(now(&self.to_sandboxes)))
            .with(&[("direction", "from_sandbox")], count(now(&self.from_sandboxes))),
            refused,
        ]
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// See [`Counts::counted`].
#[derive(Debug)]
pub(crate) struct Counted {
    inner: Box<dyn Connection>,
    counts: Arc<Counts>,
}

impl Counted {
    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = outcome {
            add(&self.counts.to_sandboxes, *n as u64);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if read > 0 {
            add(&self.counts.from_sandboxes, read as u64);
        }
        outcome
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(&outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(&outcome);
        outcome
    }
}

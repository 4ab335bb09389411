//! The body of an answer: the API's, a sandbox's, or the proxy's own.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::client::Traffic;
use crate::upstream::Lease;

/// Frames pass as they come; nothing is collected or copied.
#[derive(Debug)]
pub(crate) enum Body<F> {
    /// Of the fallback service.
    Fallback(F),
    /// Of a sandbox.
    Sandbox(FromSandbox),
    /// Of the proxy.
    Own(Full<Bytes>),
}

/// A body on its way out of a sandbox. Keeps the client's connection bound to
/// the sandbox until the last byte; a complete one gives its connection back.
#[derive(Debug)]
pub(crate) struct FromSandbox {
    incoming: Incoming,
    lease: Option<Lease>,
    traffic: Arc<Traffic>,
}

impl FromSandbox {
    pub(crate) fn new(incoming: Incoming, lease: Lease, traffic: Arc<Traffic>) -> Self {
        Self { incoming, lease: Some(lease), traffic }
    }

    fn release(&mut self, complete: bool) {
        if let Some(mut lease) = self.lease.take() {
            if complete {
                lease.finish();
            }
            self.traffic.end();
        }
    }
}

impl Drop for FromSandbox {
    fn drop(&mut self) {
        let complete = http_body::Body::is_end_stream(&self.incoming);
        self.release(complete);
    }
}

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

impl<F> http_body::Body for Body<F>
where
    F: http_body::Body<Data = Bytes> + Unpin,
    F::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Fallback(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Sandbox(body) => {
                if body.traffic.is_stream() && body.traffic.poll_ended(cx).is_ready() {
                    return Poll::Ready(Some(Err("the sandbox ended".into())));
                }
                let frame = loop {
                    let frame = ready!(Pin::new(&mut body.incoming).poll_frame(cx));
                    // Clients hang up on a server that sends many empty DATA frames.
                    let data = frame.as_ref().and_then(|f| f.as_ref().ok()).and_then(Frame::data_ref);
                    if data.is_none_or(|data| !data.is_empty()) {
                        break frame;
                    }
                };
                match &frame {
                    None => body.release(true),
                    // A cut-off stream must not look like a finished one.
                    Some(Err(_)) => body.traffic.reset_on_drop(),
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Fallback(body) => body.is_end_stream(),
            Self::Sandbox(body) => body.incoming.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Fallback(body) => body.size_hint(),
            Self::Sandbox(body) => body.incoming.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

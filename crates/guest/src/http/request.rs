//! Request bodies, and what becomes of one that its handler did not read.
//!
//! A connection that is closed on unread bytes is reset, and the reset takes
//! the answer along: the client would see a broken connection instead of the
//! reason. So what a handler left is read and thrown away before the answer
//! goes out, up to a bound.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::Request;

/// This much of a request that was refused is read to its end, and for this
/// long; a longer one ends with a closed connection.
const MAX_REST: u64 = 1 << 30;
const REST_PATIENCE: Duration = Duration::from_secs(10);

/// A request's body. Dropped before its end, it leaves the rest to [`Rest`].
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    rest: Rc<RefCell<Option<Incoming>>>,
}

/// Where an unread body comes back to.
#[derive(Debug)]
pub(super) struct Rest(Rc<RefCell<Option<Incoming>>>);

/// A request whose body is not lost when its handler drops it.
pub(super) fn keep(request: hyper::Request<Incoming>) -> (Request, Rest) {
    let rest = Rc::default();
    let back = Rc::clone(&rest);
    let request = request.map(|incoming| RequestBody { incoming: Some(incoming), rest });
    (request, Rest(back))
}

impl Rest {
    /// Reads what was left. Dropping the future leaves it unread.
    pub(super) async fn discard(self) {
        let incoming = self.0.take();
        if let Some(incoming) = incoming {
            throw_away(incoming).await;
        }
    }
}

impl RequestBody {
    /// Reads what is left, for a handler that answers meanwhile. Dropping the future leaves it unread.
    pub(crate) async fn discard(mut self) {
        if let Some(incoming) = self.incoming.take() {
            throw_away(incoming).await;
        }
    }
}

async fn throw_away(mut incoming: Incoming) {
    if incoming.size_hint().lower() > MAX_REST {
        return;
    }
    // Whichever way it ends, the answer goes out.
    let _ = timeout(REST_PATIENCE, async {
        let mut n_bytes = 0;
        while n_bytes < MAX_REST
            && let Some(Ok(frame)) = incoming.frame().await
        {
            n_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
    })
    .await;
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) {
            self.rest.replace(Some(incoming));
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

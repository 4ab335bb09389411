//! Response bodies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that wait for the connection. Two keep producer and socket both busy;
/// a full queue holds the producer.
const QUEUE: usize = 2;

/// A body that is there, or one that is being produced.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Full(Option<Bytes>),
    /// Pieces from elsewhere; `len` if it is known. An error cuts the connection,
    /// so that the client sees that something is missing.
    Pieces {
        /// The pieces.
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        /// Bytes left.
        len: Option<u64>,
    },
}

impl Body {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }

    /// A body of unknown length, and where to put it. The sender closes when the
    /// client goes away.
    pub(crate) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        Self::pieces(None)
    }

    /// The same, of this length.
    pub(crate) fn pieces(len: Option<u64>) -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, pieces) = mpsc::channel(QUEUE);
        (sender, Self::Pieces { pieces, len })
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces { pieces, len } => pieces.poll_recv(cx).map(|piece| {
                let piece = piece?;
                if let (Ok(bytes), Some(left)) = (&piece, len) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Some(piece.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None) | Self::Pieces { len: Some(0), .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Pieces { len: Some(len), .. } => SizeHint::with_exact(*len),
            Self::Pieces { len: None, .. } => SizeHint::default(),
        }
    }
}

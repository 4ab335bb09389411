//! The sending half of a response stream.

use std::io;
use std::marker::PhantomData;

use bytes::Bytes;
use tokio::sync::mpsc;
use wire::connect::envelope::{FLAG_END, encode};
use wire::connect::{Code, Codec, EndStream, Error, Message};

/// Takes messages; each is one envelope and one piece of the body.
#[derive(Debug)]
pub(super) struct Sink<A> {
    codec: Codec,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    messages: PhantomData<fn(A)>,
}

impl<A: Message> Sink<A> {
    /// Writes to a response's body.
    pub(super) fn new(codec: Codec, pieces: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self { codec, pieces, messages: PhantomData }
    }

    /// Sends a message; waits while the client does not read. An error means that
    /// the client has gone, and is only there to leave by.
    pub(super) async fn send(&self, message: &A) -> Result<(), Error> {
        let envelope = encode(0, &message.encode(self.codec));
        self.pieces.send(Ok(envelope)).await.map_err(|_| gone())
    }

    /// Resolves when the client has gone.
    pub(super) async fn closed(&self) {
        self.pieces.closed().await;
    }

    /// Sends the end record, which must be there and the last.
    pub(super) async fn finish(self, result: Result<(), Error>) {
        let end = EndStream { error: result.err() };
        let payload = serde_json::to_vec(&end).unwrap_or_else(|_| b"{}".to_vec());
        // Fails only if the client has gone.
        let _ = self.pieces.send(Ok(encode(FLAG_END, &payload))).await;
    }
}

/// The client has gone.
pub(super) fn gone() -> Error {
    Error::new(Code::Canceled, "the client has gone")
}

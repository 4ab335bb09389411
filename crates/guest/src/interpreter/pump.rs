//! Reads one of a kernel's sockets, always, and passes on what is asked for.
//!
//! Messages of anything but the request in focus are dropped here: late output of
//! background threads, other requests' leftovers. The channel holds one message;
//! while it is full the socket is not read, so output waits in the kernel.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::link::Source;
use super::message::Incoming;

/// Which socket something came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// Replies.
    Shell,
    /// Output and status.
    Broadcast,
}

/// What a pump passes on.
#[derive(Debug)]
pub(super) enum Event {
    /// A message of the request in focus.
    Message(Channel, Incoming),
    /// The socket ended; nothing follows from it.
    Closed,
}

/// The id of the request whose messages are wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Focus(Arc<Mutex<String>>);

impl Focus {
    /// From now on `id`'s messages are wanted; none if it is empty.
    pub(super) fn set(&self, id: &str) {
        id.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is(&self, id: &str) -> bool {
        !id.is_empty() && *self.0.lock().unwrap_or_else(PoisonError::into_inner) == id
    }
}

/// Runs until the socket ends or nobody listens any more, then calls `closed`.
pub(super) async fn pump(
    mut source: Source,
    focus: Focus,
    events: mpsc::Sender<Event>,
    closed: impl FnOnce() + Send,
) {
    while let Ok((channel, message)) = source.next().await {
        if focus.is(&message.parent) && events.send(Event::Message(channel, message)).await.is_err() {
            break;
        }
    }
    closed();
    _ = events.send(Event::Closed).await;
}

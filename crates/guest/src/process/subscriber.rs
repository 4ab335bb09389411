//! One receiver of a process's output.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;

use super::running::Event;

/// Events that a killed process may leave for a slow subscriber. Beyond them the
/// process is held back as before: it may have been asked to end, and not do so.
pub(super) const MAX_BACKLOG: usize = 64;

/// A subscriber's queue, and what did not fit into it: one event while the
/// process is held back for it, some more at the end of a killed process.
#[derive(Debug)]
pub(super) struct Subscriber {
    sender: mpsc::Sender<Event>,
    backlog: VecDeque<Event>,
}

impl Subscriber {
    pub(super) fn new(sender: mpsc::Sender<Event>) -> Self {
        Self { sender, backlog: VecDeque::new() }
    }

    /// Puts an event into its queue, or else into its backlog; whether it is still there.
    pub(super) fn offer(&mut self, event: &Event) -> bool {
        if self.backlog.is_empty() {
            match self.sender.try_send(event.clone()) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(_)) => {}
            }
        }
        self.backlog.push_back(event.clone());
        !self.sender.is_closed()
    }

    /// What is to be sent to it next, if it is more than `allowed` events behind.
    pub(super) fn waiting(&self, allowed: usize) -> Option<(mpsc::Sender<Event>, Event)> {
        let next = self.backlog.front().filter(|_| self.backlog.len() > allowed)?;
        Some((self.sender.clone(), next.clone()))
    }

    /// Whether this is the one with that queue.
    pub(super) fn is(&self, sender: &mpsc::Sender<Event>) -> bool {
        self.sender.same_channel(sender)
    }

    /// It took what was waiting; always true.
    pub(super) fn took(&mut self) -> bool {
        self.backlog.pop_front();
        true
    }

    /// Sends the backlog. Gives up when it takes nothing for `patience`.
    pub(super) async fn deliver(self, patience: Duration) {
        for event in self.backlog {
            if !matches!(timeout(patience, self.sender.send(event)).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

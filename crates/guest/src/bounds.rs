//! How much the daemon holds at a time, and how long it waits: a number for each,
//! all in one place. What a bound protects, and what is beyond it, says the
//! section *Daemon in a sandbox* of the specification.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bounds of one daemon. Tests set small ones and go beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of clients. More wait in the kernel's queue until one ends.
    pub connections: usize,
    /// Processes at a time; more are refused. Each costs three descriptors.
    pub processes: usize,
    /// Ends of processes that can be asked for; the oldest goes first.
    pub ends: usize,
    /// How long an end can be asked for.
    pub end_age: Duration,
    /// Bytes of output that wait for subscribers, all processes together. Beyond
    /// it processes wait, and one more piece of each is held.
    pub output_bytes: usize,
    /// Bytes of large messages that are being read or answered, all calls together.
    pub message_bytes: usize,
    /// How long a call waits for room among them, and for a message to arrive.
    pub message_patience: Duration,
    /// An upload that brings nothing for this long is given up.
    pub upload_silence: Duration,
    /// Files of one upload, and files that one request puts together.
    pub files: usize,
    /// Entries of a listing.
    pub entries: usize,
    /// Directories watched at a time, by all watchers together.
    pub watched: usize,
    /// Watchers that are polled.
    pub watchers: usize,
    /// Events that wait for one watcher. One that is slower gets an error.
    pub events: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 4096,
            processes: 2048,
            ends: 4096,
            end_age: Duration::from_secs(30),
            output_bytes: 64 << 20,
            message_bytes: 64 << 20,
            message_patience: Duration::from_mins(1),
            upload_silence: Duration::from_secs(100),
            files: 10_000,
            entries: 500_000,
            watched: 65_536,
            watchers: 1024,
            events: 16_384,
        }
    }
}

/// What one count of a budget stands for.
const UNIT: usize = 1 << 10;

/// Bytes that several holders share. Whoever wants more than is free waits, in
/// order of coming.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    all: u32,
}

/// A share of a budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget of this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let all = units(bytes).max(1);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Waits for a share; one that is larger than all there is gets all. Whoever
    /// holds one must not ask for a second.
    pub(crate) async fn take(&self, bytes: usize) -> Share {
        // Fails only for a closed semaphore; this one never is.
        Share(Arc::clone(&self.units).acquire_many_owned(units(bytes).min(self.all)).await.ok())
    }
}

impl Share {
    /// Nothing of any budget.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Gives back what is beyond `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let beyond = permit.num_permits().saturating_sub(units(bytes) as usize);
            drop(permit.split(beyond));
        }
    }

    /// Whether it is a share of anything.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_shares_come_back() {
        let budget = Budget::new(4 * UNIT);
        let mut first = budget.take(3 * UNIT).now_or_never().expect("there is room");
        assert!(budget.take(2 * UNIT).now_or_never().is_none());
        first.shrink(UNIT + 1);
        assert!(budget.take(2 * UNIT).now_or_never().is_some());
        assert!(budget.take(3 * UNIT).now_or_never().is_none());
        drop(first);
        assert!(budget.take(100 * UNIT).now_or_never().is_some(), "one that wants too much gets all");
    }
}

//! Connections to a control socket that were given up before any answer came.
//!
//! A stuck daemon has not taken them up. The checkpoint tool refuses a listening
//! socket with one in its queue that was closed, but not with one that is open: so
//! they stay open, of no use to anybody, until the daemon shows that it has come by.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// As many as the daemon's queue may hold; more could not have been made.
const MOST: usize = 4096;

/// Those of one machine.
#[derive(Debug, Default)]
pub(super) struct Unanswered(Mutex<Vec<Arc<OwnedFd>>>);

impl Unanswered {
    /// Keeps one that nobody waits for any more.
    pub(super) fn keep(&self, socket: &Arc<OwnedFd>) {
        // The daemon reads an end when it takes it up.
        let _ = rustix::net::shutdown(&**socket, rustix::net::Shutdown::Both);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST {
            kept.push(Arc::clone(socket));
        }
    }

    /// Lets go of all: the daemon takes connections up in their order and answered a
    /// later one, or its machine has ended.
    pub(super) fn let_go(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

//! How the daemon has the running service give up what it can make again.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::nursery::Nursery;

/// The line from the daemon to the service that runs now.
#[derive(Debug, Clone, Default)]
pub struct Rest(Arc<Mutex<Weak<Nursery>>>);

impl Rest {
    /// Ends what only waits to be used: the kernel without a context, and the process
    /// that forks kernels unless a context has one of its. Returns when they are gone.
    /// The next use of the interpreter makes them again.
    pub async fn now(&self) {
        let nursery = self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(nursery) = nursery {
            nursery.rest().await;
        }
    }

    /// From now on this nursery is meant.
    pub(super) fn reach(&self, nursery: &Arc<Nursery>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(nursery);
    }
}

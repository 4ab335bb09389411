//! How much one sandbox may ask, so that none can use the name service up.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Questions under way for all sandboxes together; each holds a socket.
const UNDER_WAY: usize = 512;
/// Questions under way for one sandbox.
const UNDER_WAY_EACH: u32 = 64;
/// Questions a second for one sandbox, and how many it may save up.
const RATE: f64 = 100.0;
const BURST: f64 = 400.0;
/// Sandboxes remembered before the idle ones are forgotten.
const REMEMBERED: usize = 4096;

#[derive(Debug)]
pub(super) struct Limits {
    all: Arc<Semaphore>,
    clients: Arc<Mutex<HashMap<Ipv4Addr, Client>>>,
}

#[derive(Debug)]
struct Client {
    saved: f64,
    at: Instant,
    under_way: u32,
}

/// Leave to carry one question; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _one_of_all: OwnedSemaphorePermit,
    clients: Arc<Mutex<HashMap<Ipv4Addr, Client>>>,
    client: Ipv4Addr,
}

impl Default for Limits {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(UNDER_WAY)), clients: Arc::default() }
    }
}

impl Limits {
    /// Counts a question and a place under way; `None` when there is no leave for either.
    pub(super) fn admit(&self, client: Ipv4Addr) -> Option<Permit> {
        let one_of_all = self.all.clone().try_acquire_owned().ok()?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let state = entry(&mut clients, client, Instant::now());
        if state.under_way >= UNDER_WAY_EACH || !state.take() {
            return None;
        }
        state.under_way += 1;
        Some(Permit { _one_of_all: one_of_all, clients: self.clients.clone(), client })
    }

    /// Counts a question of somebody who holds a place already.
    pub(super) fn may_ask(&self, client: Ipv4Addr) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        entry(&mut clients, client, Instant::now()).take()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = clients.get_mut(&self.client) {
            state.under_way -= 1;
        }
    }
}

/// The state of a sandbox, brought up to `now`.
fn entry(clients: &mut HashMap<Ipv4Addr, Client>, client: Ipv4Addr, now: Instant) -> &mut Client {
    if clients.len() >= REMEMBERED {
        clients.retain(|_, state| {
            state.refill(now);
            state.under_way > 0 || state.saved < BURST
        });
    }
    let state = clients.entry(client).or_insert(Client { saved: BURST, at: now, under_way: 0 });
    state.refill(now);
    state
}

impl Client {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.saved = (self.saved + passed * RATE).min(BURST);
        self.at = now;
    }

    fn take(&mut self) -> bool {
        let may = self.saved >= 1.0;
        if may {
            self.saved -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 2);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 3);

    #[test]
    fn one_sandbox_cannot_take_all_places() {
        let limits = Limits::default();
        let held: Vec<_> = std::iter::from_fn(|| limits.admit(ONE)).collect();
        assert_eq!(held.len(), UNDER_WAY_EACH as usize);
        assert!(limits.admit(OTHER).is_some());
        drop(held);
        assert!(limits.admit(ONE).is_some(), "places are given back");
        assert_eq!(limits.all.available_permits(), UNDER_WAY);
    }

    #[test]
    fn questions_are_counted_and_saved_up_again() {
        let limits = Limits::default();
        let asked = std::iter::repeat_with(|| limits.may_ask(ONE)).take_while(|may| *may).count();
        assert!((400..450).contains(&asked), "{asked}");
        assert!(limits.admit(ONE).is_none() && limits.may_ask(OTHER));
        let mut clients = limits.clients.lock().unwrap();
        let later = Instant::now() + Duration::from_secs(1);
        let saved = entry(&mut clients, ONE, later).saved;
        assert!((RATE..RATE + 2.0).contains(&saved), "{saved}");
    }
}

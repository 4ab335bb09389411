//! What this server knows of sessions that are calling right now: one start or
//! stop at a time, and how many calls are under way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{SessionId, TeamId};

type Key = (TeamId, SessionId);

/// One session that is calling.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Held by whoever starts or stops the session's sandbox.
    pub(super) turn: tokio::sync::Mutex<()>,
    calls: AtomicUsize,
}

impl Slot {
    /// Whether any call is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }
}

/// Sessions that are calling; as large as calls are many.
#[derive(Debug, Default)]
pub(in crate::app) struct Slots(Mutex<HashMap<Key, Arc<Slot>>>);

/// The use of a slot; the last one's end removes the slot.
#[derive(Debug)]
pub(super) struct InUse {
    slots: Arc<Slots>,
    key: Key,
    slot: Arc<Slot>,
}

/// One call under way.
#[derive(Debug)]
pub(super) struct Busy(Option<InUse>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>, team: TeamId, session: &SessionId) -> InUse {
        let key = (team, session.clone());
        let slot = Arc::clone(self.lock().entry(key.clone()).or_default());
        InUse { slots: Arc::clone(self), key, slot }
    }
}

impl InUse {
    /// The slot itself.
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Counts as a call from now on.
    pub(super) fn call(self) -> Busy {
        self.slot.calls.fetch_add(1, Ordering::Relaxed);
        Busy(Some(self))
    }
}

impl Busy {
    /// The call is over; its slot is still in use.
    pub(super) fn over(mut self) -> Option<InUse> {
        let in_use = self.0.take();
        if let Some(in_use) = &in_use {
            in_use.slot.calls.fetch_sub(1, Ordering::Relaxed);
        }
        in_use
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut slots = self.slots.lock();
        // The map's own and this one: nobody else can come by a third while the map is locked.
        if Arc::strong_count(&self.slot) == 2 {
            slots.remove(&self.key);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(in_use) = &self.0 {
            in_use.slot.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_lives_as_long_as_it_is_used() {
        let slots = Arc::new(Slots::default());
        let (team, session) = (TeamId::from_u128(1), "a".parse().unwrap());
        let one = slots.enter(team, &session).call();
        let other = slots.enter(team, &session);
        assert!(other.slot().is_busy());
        let stranger = slots.enter(TeamId::from_u128(2), &session);
        assert!(!stranger.slot().is_busy());
        drop((one, stranger));
        assert!(!other.slot().is_busy());
        assert_eq!(slots.lock().len(), 1);
        drop(other);
        assert!(slots.lock().is_empty());
    }
}

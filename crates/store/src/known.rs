//! Keys and names that were just looked up, so that a burst of requests asks the
//! database once.
//!
//! This process alone writes the database, so what is remembered is forgotten with
//! each change of what it came from, before the change is answered. A change that
//! nobody waits for any more may come later than that; hence nothing is remembered
//! for longer than [`FRESH`].

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an entry is believed.
const FRESH: Duration = Duration::from_secs(1);
/// Entries at most; then it begins anew.
const MOST: usize = 4096;

/// What is known. Cheap to clone; all clones share it.
#[derive(Debug)]
pub(crate) struct Known<K, V>(Arc<Mutex<Entries<K, V>>>);

#[derive(Debug)]
struct Entries<K, V> {
    /// Counts the changes, so that what was read before one is not kept after it.
    changes: u64,
    found: HashMap<K, (Instant, V)>,
}

impl<K, V> Clone for Known<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Entries { changes: 0, found: HashMap::new() })))
    }
}

/// Says when a look at the database began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before(u64);

/// Forgets everything when it is dropped: held over a change, however that ends.
#[derive(Debug)]
pub(crate) struct Changing<'a, K, V>(&'a Known<K, V>);

impl<K: Hash + Eq, V: Clone> Known<K, V> {
    /// What this stands for, if that was looked up just now; else a mark for
    /// [`Self::keep`].
    pub(crate) fn find(&self, key: &K) -> Result<V, Before> {
        let entries = self.entries();
        match entries.found.get(key) {
            Some((at, value)) if at.elapsed() < FRESH => Ok(value.clone()),
            _ => Err(Before(entries.changes)),
        }
    }

    /// Remembers what was found, unless something changed since.
    pub(crate) fn keep(&self, before: Before, key: K, value: V) {
        let mut entries = self.entries();
        if entries.changes != before.0 {
            return;
        }
        if entries.found.len() >= MOST {
            entries.found.clear();
        }
        entries.found.insert(key, (Instant::now(), value));
    }
}

impl<K, V> Known<K, V> {
    /// What all this came from is about to change.
    pub(crate) fn changing(&self) -> Changing<'_, K, V> {
        Changing(self)
    }

    fn entries(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Drop for Changing<'_, K, V> {
    fn drop(&mut self) {
        let mut entries = self.0.entries();
        entries.changes += 1;
        entries.found.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let known = Known::<&str, u32>::default();
        let before = known.find(&"k").unwrap_err();
        known.keep(before, "k", 7);
        assert_eq!(known.find(&"k").unwrap(), 7);
        let change = known.changing();
        assert!(known.find(&"k").is_ok(), "the change is not made yet");
        drop(change);
        assert!(known.find(&"k").is_err());
        known.keep(before, "k", 7);
        assert!(known.find(&"k").is_err(), "it was read before the change");
    }
}

//! Keys that were just looked up, so that a burst of requests asks the database once.
//!
//! This process alone writes the database, so what is remembered is forgotten with
//! each change of a key or a team, before the change is answered. A change that
//! nobody waits for any more may come later than that; hence nothing is remembered
//! for longer than [`FRESH`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::KeyId;

use crate::{KeyHash, Team};

/// How long an entry is believed.
const FRESH: Duration = Duration::from_secs(1);
/// Entries at most; then it begins anew.
const MOST: usize = 4096;

/// What is known. Cheap to clone; all clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<Mutex<Keys>>);

#[derive(Debug, Default)]
struct Keys {
    /// Counts the changes, so that what was read before one is not kept after it.
    changes: u64,
    entries: HashMap<KeyHash, (Instant, Team, KeyId)>,
}

/// Says when a look at the database began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before(u64);

/// Forgets everything when it is dropped: held over a change, however that ends.
#[derive(Debug)]
pub(crate) struct Changing<'a>(&'a Known);

impl Known {
    /// What this key stands for, if that was looked up just now; else a mark for
    /// [`Self::keep`].
    pub(crate) fn find(&self, hash: &KeyHash) -> Result<(Team, KeyId), Before> {
        let keys = self.keys();
        match keys.entries.get(hash) {
            Some((at, team, key_id)) if at.elapsed() < FRESH => Ok((team.clone(), *key_id)),
            _ => Err(Before(keys.changes)),
        }
    }

    /// Remembers what was found, unless something changed since.
    pub(crate) fn keep(&self, before: Before, hash: &KeyHash, team: &Team, key_id: KeyId) {
        let mut keys = self.keys();
        if keys.changes != before.0 {
            return;
        }
        if keys.entries.len() >= MOST {
            keys.entries.clear();
        }
        keys.entries.insert(hash.clone(), (Instant::now(), team.clone(), key_id));
    }

    /// Keys or teams are about to change.
    pub(crate) fn changing(&self) -> Changing<'_> {
        Changing(self)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut keys = self.0.keys();
        keys.changes += 1;
        keys.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use model::{TeamId, Timestamp};

    use super::*;
    use crate::Standing;

    fn team() -> Team {
        Team {
            team_id: TeamId::from_random([1; 16]),
            name: "a".to_owned(),
            slug: "a".to_owned(),
            is_default: false,
            max_sandboxes: None,
            standing: Standing::Good,
            created_at: Timestamp::from_unix_micros(0),
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let (known, hash, key_id) = (Known::default(), KeyHash("k".to_owned()), KeyId::from_random([2; 16]));
        let before = known.find(&hash).unwrap_err();
        known.keep(before, &hash, &team(), key_id);
        assert_eq!(known.find(&hash).unwrap(), (team(), key_id));
        let change = known.changing();
        assert!(known.find(&hash).is_ok(), "the change is not made yet");
        drop(change);
        assert!(known.find(&hash).is_err());
        known.keep(before, &hash, &team(), key_id);
        assert!(known.find(&hash).is_err(), "it was read before the change");
    }
}

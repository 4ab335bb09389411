//! Turns of the steps that make and remove what one sandbox has on the host.
//!
//! A step runs on a thread that nobody can call back. When a kill lets go of a step that
//! is under way, the removal that follows has to come after it; so the thread holds the
//! turn, not who waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::SandboxId;
use tokio::sync::OwnedMutexGuard;

/// Who of a host's sandboxes has a turn, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<SandboxId, Arc<tokio::sync::Mutex<()>>>>);

/// A turn; the next begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    id: SandboxId,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turns of this sandbox that were asked for before.
    pub(super) async fn take(self: &Arc<Self>, id: &SandboxId) -> Turn {
        let place = Arc::clone(self.all().entry(id.clone()).or_default());
        // Made before the wait: whoever gives up waiting tidies up as well.
        let mut turn = Turn { turns: Arc::clone(self), id: id.clone(), held: None };
        turn.held = Some(place.lock_owned().await);
        turn
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SandboxId, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.turns.all();
        self.held = None;
        // Everybody else holds a reference while they wait or have their turn.
        if all.get(&self.id).is_some_and(|place| Arc::strong_count(place) == 1) {
            all.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn steps_of_one_sandbox_follow_one_another_and_nothing_is_kept_of_them() {
        let turns = Arc::new(Turns::default());
        let [one, other] = ["ione", "iother"].map(|id| id.parse::<SandboxId>().unwrap());
        let first = turns.take(&one).await;
        drop(turns.take(&other).await);
        assert!(timeout(SOON, turns.take(&one)).await.is_err(), "the first has its turn");
        // As a thread that nobody waits for.
        let thread = std::thread::spawn(move || drop(first));
        let second = timeout(Duration::from_mins(1), turns.take(&one)).await.unwrap();
        thread.join().unwrap();
        assert_eq!(turns.all().len(), 1);
        drop(second);
        assert!(turns.all().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_forgotten() {
        let turns = Arc::new(Turns::default());
        let id: SandboxId = "ione".parse().unwrap();
        let first = turns.take(&id).await;
        let waits = turns.take(&id);
        drop(first);
        drop(waits);
        let first = turns.take(&id).await;
        assert!(timeout(SOON, turns.take(&id)).await.is_err());
        drop(first);
        assert!(turns.all().is_empty());
    }
}

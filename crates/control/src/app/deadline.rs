//! When a sandbox ends by itself: set, refresh, and connect, which only extends.

use std::time::Duration;

use model::{SandboxId, Timestamp};
use node::{Phase, Waking};

use super::create::too_long;
use super::read::Live;
use super::{App, Caller, Error};

/// A refresh below this is one of this.
const SHORTEST_REFRESH: Duration = Duration::from_secs(15);

/// How often a connect follows a sandbox that others put to sleep and wake meanwhile.
const ROUNDS: usize = 3;

impl App {
    /// Ends it this many seconds from now, at once if not above 0.
    pub(crate) async fn set_timeout(
        &self,
        caller: &Caller,
        id: &SandboxId,
        seconds: i64,
    ) -> Result<(), Error> {
        let live = self.sandbox_to_change(caller, id).await?;
        let lifetime = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let deadline = self.deadline(&live, lifetime)?;
        self.move_deadline(&live, deadline).await.map(drop)
    }

    /// Lets it live at least this long from now; never shortens.
    pub(crate) async fn refresh(
        &self,
        caller: &Caller,
        id: &SandboxId,
        lifetime: Duration,
    ) -> Result<(), Error> {
        let live = self.sandbox_to_change(caller, id).await?;
        self.extend(live, lifetime.max(SHORTEST_REFRESH)).await.map(drop)
    }

    /// Lets a running sandbox live at least this many seconds, or wakes one that
    /// sleeps to live as long; the flag says which.
    pub(crate) async fn connect(
        &self,
        caller: &Caller,
        id: &SandboxId,
        seconds: i64,
        waking: Waking,
    ) -> Result<(Live, bool), Error> {
        let lifetime = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let max = self.options().max_lifetime;
        if lifetime > max {
            return Err(too_long(max));
        }
        let mut was_woken = false;
        for _ in 0..ROUNDS {
            let mut live = self.sandbox_to_move(caller, id).await?;
            if live.observation.phase != Phase::Running {
                let lifetime = if lifetime.is_zero() { SHORTEST_REFRESH } else { lifetime };
                let enough = self.options().clock.now() + lifetime;
                live = self.wake(live, lifetime, waking, caller.team.max_sandboxes).await?;
                was_woken = true;
                // Less, if it was another's wake that this one joined.
                if live.observation.deadline >= enough {
                    return Ok((live, true));
                }
            }
            match self.extend(live, lifetime).await {
                // It fell asleep between the look and the act.
                Err(Error::NoSandbox(_)) if self.node().get(id).is_some() => {}
                extended => return Ok((extended?, was_woken)),
            }
        }
        Err(Error::SandboxMoving(id.clone()))
    }

    async fn extend(&self, live: Live, lifetime: Duration) -> Result<Live, Error> {
        // A sandbox that has used up its longest life keeps what it has.
        match self.deadline(&live, lifetime) {
            Ok(deadline) if deadline > live.observation.deadline => self.move_deadline(&live, deadline).await,
            _ => Ok(live),
        }
    }

    /// Now and `lifetime` more, but within the longest life since its start.
    fn deadline(&self, live: &Live, lifetime: Duration) -> Result<Timestamp, Error> {
        let now = self.options().clock.now();
        let last = live.observation.started_at + self.options().max_lifetime;
        if now > last {
            return Err(Error::Refused("Max instance length exceeded".to_owned()));
        }
        Ok(last.min(now + lifetime))
    }

    /// Moves it on the node.
    pub(super) async fn move_deadline(&self, live: &Live, deadline: Timestamp) -> Result<Live, Error> {
        let id = &live.row.sandbox_id;
        match self.node().set_deadline(id, deadline).await {
            Ok(observation) => {
                let live = Live { observation, ..live.clone() };
                self.tell_updated(&live).await;
                Ok(live)
            }
            Err(node::Error::NotFound(_) | node::Error::Paused(_)) => Err(Error::NoSandbox(id.clone())),
            Err(node::Error::Ending(_)) => Err(Error::SandboxEnding(id.clone())),
            Err(error) => Err(Error::of_node(error)),
        }
    }
}

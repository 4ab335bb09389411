//! Makes the store and the node agree, knowing nothing but what both say now.
//!
//! | store says | node has it | then |
//! |---|---|---|
//! | starting, create under way | any | left to the create |
//! | starting, else | any | an old server died over it, unanswered: undone |
//! | running | yes | nothing |
//! | running | paused | it went to sleep by itself: noted |
//! | running, paused | no | it ended: moved to its record |
//! | paused | running | a wake that died before its answer: noted |
//! | ending, kill under way | any | left to the kill |
//! | ending, else | any | the kill is carried out |
//! | nothing | yes | nobody owns it: killed |

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use model::{KilledBy, SandboxId};
use node::Phase;
use store::Intent;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{App, Error};

/// However many changes the node reports, rounds start no closer than this.
const SHORTEST_ROUND: Duration = Duration::from_millis(50);

/// Nor closer than this many times what the last one took: with thousands of
/// sandboxes that come and go, reading them all is not to be most of the work…
const SHARE: u32 = 10;

/// …but one that waited for something stuck does not put the next off for long.
const SHORTEST_AT_MOST: Duration = Duration::from_millis(500);

/// Without any change, a round is made anyway.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Sandboxes that are put right at a time.
const AT_A_TIME: usize = 16;

/// How long an idempotency key leads to its outcome.
const KEEP_KEYS: Duration = Duration::from_hours(48);

impl App {
    /// Reconciles now and at every change until `stop`.
    pub(super) async fn reconcile_until(&self, stop: &CancellationToken) {
        let mut bell = self.0.node.observe();
        loop {
            let started = Instant::now();
            bell.mark_unchanged();
            if let Err(error) = self.reconcile().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "reconciling failed, to be tried again"
                );
            }
            let shortest = (started.elapsed() * SHARE).clamp(SHORTEST_ROUND, SHORTEST_AT_MOST);
            let wait = async {
                tokio::time::sleep_until(started + shortest).await;
                // A node that is gone changes no more: the pause alone counts then.
                let changed = async {
                    if bell.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::time::timeout(LONGEST_PAUSE, changed).await.ok();
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = wait => {}
            }
        }
    }

    /// Drops records and idempotency keys that are too old, now and every hour until `stop`.
    pub(super) async fn drop_records_until(&self, stop: &CancellationToken) {
        let mut hours = tokio::time::interval(Duration::from_hours(1));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hours.tick() => {}
            }
            if let Err(error) = self.drop_old().await {
                tracing::error!(error = &error as &dyn std::error::Error, "old records were not dropped");
            }
        }
    }

    async fn drop_old(&self) -> Result<(), Error> {
        let now = self.options().clock.now();
        self.store().drop_records(now - self.options().keep_records).await?;
        self.store().drop_claims(now - KEEP_KEYS).await?;
        self.store().drop_sessions(now - self.options().keep_records).await?;
        self.store().drop_events(now - self.options().keep_records).await?;
        if let Some(logs) = &self.options().logs {
            logs.sweep(now - self.options().keep_records).await;
        }
        if let Some(samples) = &self.options().samples {
            samples.sweep(now - self.options().keep_records).await;
        }
        Ok(())
    }

    /// One round. What fails stays as it is for the next.
    pub(crate) async fn reconcile(&self) -> Result<(), Error> {
        self.register_new_builds().await?;
        self.settle_builds().await?;
        self.forget_unnamed_states().await?;
        // The rows first: a row says `running` only after its node has it, so
        // one that is missing from the later list has really ended.
        let intents = self.store().intents().await?;
        let seen: HashMap<SandboxId, Phase> =
            self.node().list().into_iter().map(|seen| (seen.sandbox_id, seen.phase)).collect();
        let known: HashSet<SandboxId> = intents.iter().map(|(id, _)| id.clone()).collect();
        let unowned = seen.keys().filter(|id| !known.contains(*id)).map(|id| (id.clone(), None));
        let owned = intents.into_iter().map(|(id, intent)| (id, Some(intent)));
        let work: Vec<(SandboxId, Option<Intent>)> = owned.chain(unowned).collect();
        let seen = &seen;
        let work = work.into_iter().map(async |(id, intent)| match intent {
            Some(intent) => self.reconcile_one(&id, intent, seen.get(&id).copied()).await,
            None => self.end_if_unowned(&id).await,
        });
        // Some at a time, so that one stuck sandbox does not hold up the rest.
        let mut results = futures_util::stream::iter(work).buffer_unordered(AT_A_TIME);
        let mut outcome = Ok(());
        while let Some(result) = results.next().await {
            outcome = outcome.and(result);
        }
        outcome
    }

    async fn reconcile_one(&self, id: &SandboxId, intent: Intent, seen: Option<Phase>) -> Result<(), Error> {
        match intent {
            _ if intent != Intent::Running && self.is_in_flight(id) => Ok(()),
            Intent::Starting => match self.store().sandbox(id).await? {
                // It came to its end between our reading and here.
                None => Ok(()),
                Some(row) if row.intent != Intent::Starting => Ok(()),
                Some(_) => self.undo_unanswered(id).await,
            },
            Intent::Running | Intent::Paused if seen.is_none() => self.settle(id).await,
            Intent::Running if seen == Some(Phase::Paused) && !self.is_in_flight(id) => {
                match self.node().get(id).filter(|seen| seen.phase == Phase::Paused) {
                    Some(seen) => self.note_paused(&seen).await,
                    None => Ok(()),
                }
            }
            // Over the limit or not: it runs.
            Intent::Paused if seen == Some(Phase::Running) => {
                self.store().reserve_wake(id, u64::MAX).await.map(drop).map_err(Error::from)
            }
            Intent::Running | Intent::Paused => Ok(()),
            Intent::Ending => self.finish(id, KilledBy::Client).await,
        }
    }

    async fn undo_unanswered(&self, id: &SandboxId) -> Result<(), Error> {
        match self.node_kill(id, KilledBy::Operator).await {
            Ok(_) | Err(Error::NoSandbox(_)) => Ok(self.store().forget(id).await?),
            Err(error) => Err(error),
        }
    }

    /// The row is looked for again: it may have been written since. None is
    /// ever written after its sandbox appeared.
    async fn end_if_unowned(&self, id: &SandboxId) -> Result<(), Error> {
        if self.is_in_flight(id) || self.store().sandbox(id).await?.is_some() {
            return Ok(());
        }
        match self.node_kill(id, KilledBy::Operator).await {
            Ok(_) => {
                tracing::warn!(sandbox_id = %id, "a sandbox that nobody owns was killed");
                Ok(())
            }
            Err(Error::NoSandbox(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

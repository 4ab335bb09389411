//! Going to sleep and waking: by request, by connecting, by traffic.
//!
//! The node's word on whether a sandbox sleeps counts; the row follows it, so
//! that sleepers take no place in their team's limit.

use std::sync::PoisonError;
use std::time::Duration;

use model::{BuildId, Policy, SandboxId};
use node::{Keep, Observation, Phase, Waking};
use store::Reservation;
use wire::control::LogLevel;

use super::event::{paused_event, resumed_event};
use super::read::Live;
use super::{App, Caller, Error};
use crate::FullPause;

/// What traffic wakes lives at least this long, whatever it was given at first.
const SHORTEST_WAKE: Duration = Duration::from_mins(5);

/// A pause as it was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PauseCommand {
    pub(crate) memory: bool,
    /// One whose daemon is stuck goes on as it was, although its memory is kept.
    pub(crate) demands_answer: bool,
}

/// What a sandbox goes on from.
#[derive(Debug)]
pub(super) enum Beginning {
    /// As it fell asleep.
    Sleep(Waking),
    /// As it was when a snapshot of it was taken.
    Snapshot(BuildId),
}

/// Traffic for a sandbox that sleeps.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'a> {
    /// Whose.
    pub sandbox_id: &'a SandboxId,
    /// Whether it is for the daemon, which may demand a token.
    pub for_daemon: bool,
    /// The token that came along.
    pub access_token: Option<&'a str>,
}

/// What came of a knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// It runs.
    Up,
    /// Nothing wakes it, or it could not be woken.
    No,
    /// The token does not fit.
    Denied,
    /// Its team has as many as it may.
    Full,
    /// It takes longer than a request can wait.
    Moving,
}

impl App {
    /// Puts a running sandbox to sleep and answers when it is.
    pub(crate) async fn pause(
        &self,
        caller: &Caller,
        id: &SandboxId,
        command: PauseCommand,
    ) -> Result<(), Error> {
        let live = self.sandbox_to_move(caller, id).await?;
        match live.observation.phase {
            Phase::Paused => return Err(Error::AlreadyPaused(id.clone())),
            Phase::Resuming => return Err(Error::SandboxMoving(id.clone())),
            Phase::Starting | Phase::Running | Phase::Pausing | Phase::Ending => {}
        }
        let keep = self.keep(command.memory, "pausing with memory")?;
        // Files may be half written while a daemon is stuck.
        let demands_answer = command.demands_answer || keep == Keep::Files;
        let (app, id) = (self.clone(), id.clone());
        self.detached(async move {
            let _guard = app.in_flight(id.clone());
            if keep == Keep::Files {
                app.fetch_last_words(&id).await;
            }
            let pausing = app.node().pause(&id, keep, demands_answer);
            let seen = app.within(&id, pausing).await?.map_err(|e| app.not_paused(&id, e))?;
            app.note_paused(&seen).await
        })
        .await
    }

    /// Writes down that a sandbox sleeps, and tells of it once.
    pub(super) async fn note_paused(&self, seen: &Observation) -> Result<(), Error> {
        let id = &seen.sandbox_id;
        let Some(row) = self.store().sandbox(id).await? else { return Ok(()) };
        if self.store().sandbox_paused(id, seen.started_at, Some(&paused_event(&row, seen))).await? {
            self.wake_deliveries();
            let kept = if seen.keeps_memory { "memory" } else { "files" };
            self.tell(id, LogLevel::Info, "Sandbox paused", &[("kept", kept.to_owned())]);
            tracing::info!(sandbox_id = %id, kept, "sandbox paused");
        }
        Ok(())
    }

    /// Wakes a sandbox that sleeps, for clients that know no `connect`.
    pub(crate) async fn resume(
        &self,
        caller: &Caller,
        id: &SandboxId,
        seconds: i64,
        waking: Waking,
    ) -> Result<Live, Error> {
        let timeout = self.checked_timeout(seconds)?;
        let live = self.sandbox_to_move(caller, id).await?;
        if live.observation.phase == Phase::Running {
            return Err(Error::AlreadyRunning(id.clone()));
        }
        self.wake(live, timeout, waking, caller.team.max_sandboxes).await
    }

    /// Wakes a sandbox, or joins whoever does.
    pub(super) async fn wake(
        &self,
        live: Live,
        timeout: Duration,
        waking: Waking,
        max_of_team: Option<u64>,
    ) -> Result<Live, Error> {
        self.live_on(live, timeout, Beginning::Sleep(waking), max_of_team).await
    }

    /// Takes a place of the team's for a sandbox and lets it go on, from its sleep or
    /// from a snapshot of it.
    pub(super) async fn live_on(
        &self,
        live: Live,
        timeout: Duration,
        from: Beginning,
        max_of_team: Option<u64>,
    ) -> Result<Live, Error> {
        // A rollback stays where it is.
        if matches!(from, Beginning::Sleep(_)) {
            self.refuse_if_drained().await?;
        }
        let max = max_of_team.unwrap_or(self.options().max_sandboxes);
        let app = self.clone();
        self.detached(async move {
            let id = &live.row.sandbox_id;
            let _guard = app.in_flight(id.clone());
            match app.store().reserve_wake(id, max).await? {
                Some(Reservation::Made) => {}
                Some(Reservation::Full) => return Err(Error::TooManySandboxes(max)),
                // A kill came first.
                None => return Err(app.gone(id)),
            }
            let (done, message) = match from {
                Beginning::Sleep(waking) => {
                    (app.within(id, app.node().resume(id, timeout, waking)).await, "Sandbox resumed")
                }
                Beginning::Snapshot(build_id) => {
                    let moving = app.node().rollback(id, build_id, timeout);
                    (app.within(id, moving).await, "Sandbox rolled back")
                }
            };
            app.finish_wake(live, done, message).await
        })
        .await
    }

    /// What came of a wake: told, or its place given back.
    async fn finish_wake(
        &self,
        live: Live,
        done: Result<Result<Observation, node::Error>, Error>,
        message: &'static str,
    ) -> Result<Live, Error> {
        let id = &live.row.sandbox_id;
        let observation = match done {
            Ok(Ok(observation)) => observation,
            Ok(Err(error)) => {
                match self.node().get(id).filter(|seen| seen.phase == Phase::Paused) {
                    // It sleeps on: nothing to tell.
                    Some(seen) if live.observation.phase == Phase::Paused => {
                        self.store().sandbox_paused(id, seen.started_at, None).await?;
                    }
                    Some(seen) => self.note_paused(&seen).await?,
                    None => {}
                }
                return Err(self.not_resumed(id, error));
            }
            Err(late) => return Err(late),
        };
        // Its place in lists; it runs all the same where that cannot be written.
        if let Err(error) = self.store().sandbox_woken(id, observation.started_at).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(sandbox_id = %id, error, "a new start was not noted");
        }
        let row = store::Sandbox { intent: store::Intent::Running, ..live.row };
        // Whoever joined another's wake, or found it running, tells nothing.
        if observation.started_at != live.observation.started_at && self.is_first_told(&observation) {
            if let Err(error) = self.store().add_event(&resumed_event(&row, &observation)).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(sandbox_id = %row.sandbox_id, error, "an event was not written");
            }
            self.wake_deliveries();
            self.tell(&row.sandbox_id, LogLevel::Info, message, &[]);
            tracing::info!(sandbox_id = %row.sandbox_id, message, "sandbox resumed");
        }
        Ok(Live { token: self.token_of(&row), row, observation })
    }

    pub(super) fn forget_told(&self, id: &SandboxId) {
        self.0.told_resumes.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Whether nobody told of this run of a sandbox yet.
    fn is_first_told(&self, seen: &Observation) -> bool {
        let mut told = self.0.told_resumes.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(seen.sandbox_id.clone(), seen.started_at) != Some(seen.started_at)
    }

    /// Wakes a sandbox whose owner wants it woken by traffic.
    pub async fn knock(&self, knock: Knock<'_>) -> Woken {
        let id = knock.sandbox_id;
        let wakes = |seen: &Observation| {
            let kept = seen.keeps_memory || self.options().full_pause == FullPause::Files;
            seen.policy.wakes_by_traffic && (kept || seen.phase != Phase::Paused)
        };
        let Some(seen) = self.node().get(id).filter(wakes) else {
            return Woken::No;
        };
        match self.let_in(knock, seen).await {
            Ok(woken) => woken,
            Err(Error::TooManySandboxes(_)) => Woken::Full,
            Err(Error::MoveTimedOut(_)) => Woken::Moving,
            Err(error) => {
                tracing::warn!(sandbox_id = %id, error = &error as &dyn std::error::Error, "traffic did not wake a sandbox");
                Woken::No
            }
        }
    }

    async fn let_in(&self, knock: Knock<'_>, seen: Observation) -> Result<Woken, Error> {
        let id = knock.sandbox_id;
        let Some(row) = self.store().sandbox(id).await? else { return Ok(Woken::No) };
        let token = self.token_of(&row);
        if knock.for_daemon && token.is_some() && token.as_deref() != knock.access_token {
            return Ok(Woken::Denied);
        }
        let max = self.store().team(row.team_id).await?.and_then(|team| team.max_sandboxes);
        let longest = self.options().max_lifetime;
        let timeout = seen.timeout.max(SHORTEST_WAKE).min(longest);
        let live = Live { row, observation: seen, token };
        self.wake(live, timeout, Waking::Kept, max).await.map(|_| Woken::Up)
    }

    pub(super) fn sleeps(&self, id: &SandboxId) -> bool {
        self.node().get(id).is_some_and(|seen| seen.phase == Phase::Paused)
    }

    pub(super) async fn within<T>(&self, id: &SandboxId, work: impl Future<Output = T>) -> Result<T, Error> {
        let limit = self.options().create_limit;
        tokio::time::timeout(limit, work).await.map_err(|_| Error::MoveTimedOut(id.clone()))
    }

    fn not_paused(&self, id: &SandboxId, error: node::Error) -> Error {
        match error {
            node::Error::Paused(_) => Error::AlreadyPaused(id.clone()),
            node::Error::Unresponsive(_) => Error::Unresponsive(id.clone()),
            node::Error::Checkpoint { .. } => Error::NotKept(error),
            other => self.not_moved(id, other),
        }
    }

    fn not_resumed(&self, id: &SandboxId, error: node::Error) -> Error {
        match error {
            node::Error::Exhausted { .. } => Error::NoRoom(error),
            node::Error::Resume { .. } => Error::ResumeFailed(error),
            node::Error::WasUnresponsive(_) => Error::WasUnresponsive(id.clone()),
            node::Error::UnknownBuild(_) | node::Error::NoState(_) => {
                Error::Refused("the snapshot is not there any more".to_owned())
            }
            other => self.not_moved(id, other),
        }
    }

    pub(super) fn not_moved(&self, id: &SandboxId, error: node::Error) -> Error {
        match error {
            node::Error::NotFound(_) => self.gone(id),
            node::Error::Ending(_) => Error::SandboxEnding(id.clone()),
            node::Error::Snapshotting(_) => Error::Snapshotting(id.clone()),
            node::Error::ShuttingDown => Error::ShuttingDown(error),
            other => Error::of_node(other),
        }
    }
}

impl Live {
    /// What happens to it by itself.
    pub(crate) fn policy(&self) -> Policy {
        self.observation.policy
    }
}

//! The task that owns one sandbox from its record to its removal.
//!
//! ```text
//!   start (steps) ──▶ live (waits) ──▶ end (undo) ──▶ gone
//!     │                │  ▲ pause, wake    ▲
//!     │              sleep (waits) ────────┤
//!     └── failed or killed ────────────────┤
//!   restart: adopt ──▶ live, sleep, or ────┘
//! ```
//!
//! The driver asks `model::lifecycle` what each event means, does it, and
//! publishes. A kill pre-empts the step under way: its future is dropped, and
//! the undo, which is keyed by the record, mends what it left half-done.

mod adopt;
mod checkpoint;
mod end;
mod live;
mod oom;
mod pause;
mod rollback;
mod sleep;
mod start;
mod step;

use std::sync::Arc;
use std::time::Duration;

use model::lifecycle::{Decision, Event, State, transition};
use model::{EndCause, KilledBy, Peaks, SandboxId};
use runtime::{Machine, MachineSpec};
use tokio::sync::{mpsc, oneshot};

use crate::generation::{Checkpoint, Hold, Keep, Shelf};
use crate::record::Record;
use crate::shared::{Entry, Request, Shared};
use crate::{Approval, Error, Observation, Phase};

use oom::OomTally;
use step::Failed;

/// Where the answer to a create goes.
pub(crate) type Reply = oneshot::Sender<Result<Observation, Error>>;

/// What a driver knows of its sandbox.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    record: Record,
    spec: Arc<MachineSpec>,
    state: State,
    machine: Option<Arc<dyn Machine>>,
    requests: mpsc::Receiver<Request>,
    peaks: Peaks,
    oom: OomTally,
    /// The generation that its record names, kept from being removed.
    hold: Hold,
}

/// Why a driver goes no further.
pub(crate) enum Halt {
    /// The sandbox is to be removed.
    End(EndCause),
    /// The server leaves; the sandbox stays.
    Leave,
}

/// What a usable sandbox does next.
pub(crate) enum Turn {
    Halt(Halt),
    /// It is to sleep, with this kept; whoever asked for it waits.
    Pause(Keep, Option<Reply>),
    /// It is to go back to an earlier state, to live this long from there.
    Rollback(Checkpoint, Duration, Reply),
}

impl Driver {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        entry: &Arc<Entry>,
        record: Record,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let dir = shared.options.sandboxes_dir().join(entry.sandbox_id.as_str());
        let spec = Arc::new(record.spec(&entry.sandbox_id, &dir));
        let named = record.sleeping_on().or_else(|| record.writing_to());
        let oom = OomTally::new(record.started_at().unwrap_or_else(|| shared.options.clock.now()));
        let hold = named.map(|id| Shelf::hold(&shared.shelf, id)).unwrap_or_default();
        Self {
            hold,
            shared: Arc::clone(shared),
            entry: Arc::clone(entry),
            record,
            spec,
            state: State::Admitted,
            machine: None,
            requests,
            peaks: Peaks::default(),
            oom,
        }
    }

    /// Makes a sandbox, lets it live and removes it. The answer to the create
    /// goes out when it is usable or undone.
    pub(crate) async fn create(mut self, from: Option<Checkpoint>, approval: Approval, mut reply: Reply) {
        let started = Box::pin(self.start(from.as_ref(), approval, &mut reply)).await;
        // It has a copy of what it began with.
        drop(from);
        match started {
            Ok(observation) => {
                // Whoever asked is gone: nobody would ever use or end it.
                let halt = match reply.send(Ok(observation)) {
                    Ok(()) => Box::pin(self.go_on()).await,
                    Err(_) => Halt::End(EndCause::Killed(KilledBy::Client)),
                };
                Box::pin(self.finish(halt)).await;
            }
            Err(failed) => {
                let error = failed.error(self.id(), &self.shared.options.bulk_dir).await;
                match failed {
                    Failed::Withdrawn => Box::pin(self.withdraw()).await,
                    failed => Box::pin(self.finish(Halt::End(failed.cause()))).await,
                }
                // Sent after the undo: a failed create leaves the host as it was.
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Takes a sandbox over from an earlier server. `settled` is dropped when it
    /// is known to run or is being removed.
    pub(crate) async fn resume(mut self, settled: oneshot::Sender<()>) {
        let adopted = Box::pin(self.adopt()).await;
        drop(settled);
        let halt = match adopted {
            Ok(()) => Box::pin(self.go_on()).await,
            Err(halt) => halt,
        };
        Box::pin(self.finish(halt)).await;
    }

    /// Lives and sleeps in turns until it has to end or the server leaves. What
    /// comes and goes is boxed here and in [`Self::live`]: a sandbox that only waits
    /// does not hold the room of a pause.
    async fn go_on(&mut self) -> Halt {
        loop {
            let next = if self.state == State::Paused {
                self.sleep().await
            } else {
                match self.live().await {
                    Turn::Halt(halt) => Err(halt),
                    Turn::Pause(keep, reply) => Box::pin(self.pause(keep, reply)).await,
                    Turn::Rollback(to, timeout, reply) => Box::pin(self.roll_back(to, timeout, reply)).await,
                }
            };
            if let Err(halt) = next {
                return halt;
            }
        }
    }

    /// Removes a sandbox whose driver is no more.
    pub(crate) async fn remove(self, cause: EndCause) {
        self.finish(Halt::End(cause)).await;
    }

    async fn finish(mut self, halt: Halt) {
        match halt {
            Halt::Leave => {}
            Halt::End(cause) => self.end(cause).await,
        }
    }

    fn id(&self) -> &SandboxId {
        &self.entry.sandbox_id
    }

    /// Follows the table and publishes. A refusal here would be a bug of ours.
    fn apply(&mut self, event: Event) {
        let Decision::Accept(next, action) = transition(self.state, event) else {
            tracing::error!(state = ?self.state, ?event, "the lifecycle table refuses what the driver does");
            return;
        };
        tracing::debug!(from = ?self.state, to = ?next, ?action, "state");
        self.state = next;
        let phase = match next {
            State::Ending(_) | State::Ended(_) => Phase::Ending,
            state if state.is_starting() => Phase::Starting,
            State::Pausing => Phase::Pausing,
            State::Paused => Phase::Paused,
            State::Resuming => Phase::Resuming,
            _ => Phase::Running,
        };
        self.show(phase);
    }

    /// Lets others see this phase, and what the record says beside it.
    fn show(&self, phase: Phase) {
        let record = &self.record;
        let is_snapshotting = self.state == State::Snapshotting;
        self.shared.publish(&self.entry, |observation| {
            observation.phase = phase;
            observation.is_snapshotting = is_snapshotting;
            observation.started_at = record.started_at().unwrap_or(record.created_at());
            observation.deadline = record.shown_deadline();
            observation.timeout = record.timeout();
            observation.keeps_memory = record.keeps_memory();
            observation.unresponsive_at_pause = record.was_unresponsive();
            observation.envd_version.clone_from(&record.envd_version);
        });
    }

    fn observation(&self) -> Observation {
        self.entry.observed.borrow().clone()
    }
}

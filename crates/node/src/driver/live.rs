//! The life of a usable sandbox: wait for whatever comes first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::lifecycle::{Decision, Event, transition};
use model::{AtTimeout, EndCause};
use runtime::{Exit, Machine, Usage};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::step::killed;
use super::{Driver, Halt, Turn};
use crate::shared::Request;
use crate::{Error, Keep, Observation, disk};

/// The clock may be set while we sleep: look at it at least this often.
const LOOK: Duration = Duration::from_secs(10);
/// One reading of the host's counters.
const READING: Duration = Duration::from_secs(2);
/// A question before an end, which waits for nobody.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Making a layer: a rename where the file system can, else a copy of some GiB.
const SEALING: Duration = Duration::from_mins(10);

pub(super) const fn cause_of(exit: Exit) -> EndCause {
    match exit {
        Exit::OutOfMemory => EndCause::OutOfMemory,
        Exit::Ended => EndCause::Crashed,
    }
}

impl Driver {
    /// Lives until the sandbox has to end or to sleep, or the server leaves.
    pub(super) async fn live(&mut self) -> Turn {
        let Some(machine) = self.machine.clone() else {
            return Turn::Halt(Halt::End(EndCause::HostLost));
        };
        Box::pin(self.settle(&machine)).await;
        let leave = self.shared.tasks.leave().clone();
        let mut next_sample = Instant::now() + self.shared.options.limits.sample;
        loop {
            let until_deadline = tokio::time::sleep(self.left().min(LOOK));
            // By urgency: a kill before everything, a reading of counters last.
            tokio::select! {
                biased;
                cause = killed(&self.entry) => return Turn::Halt(Halt::End(cause)),
                exit = machine.exited() => return Turn::Halt(Halt::End(cause_of(exit))),
                () = leave.cancelled() => return Turn::Halt(Halt::Leave),
                () = until_deadline => {
                    if self.left().is_zero() {
                        return self.timed_out();
                    }
                }
                request = self.requests.recv() => {
                    if let Some(turn) = Box::pin(self.answer(request, &machine)).await {
                        return turn;
                    }
                }
                usage = sample(next_sample, &machine) => {
                    next_sample = Instant::now() + self.shared.options.limits.sample;
                    if self.note(usage) {
                        Box::pin(self.ask_for_victims(&machine)).await;
                    }
                }
            }
        }
    }

    fn timed_out(&self) -> Turn {
        match self.record.policy().at_timeout {
            AtTimeout::Kill => Turn::Halt(Halt::End(EndCause::Timeout)),
            AtTimeout::PauseFiles => Turn::Pause(Keep::Files, None),
            AtTimeout::PauseMemory => Turn::Pause(Keep::Memory, None),
        }
    }

    /// What the backend does off the path of a create. Its failure costs
    /// comfort, not the sandbox.
    async fn settle(&self, machine: &Arc<dyn Machine>) {
        let settled = tokio::select! {
            biased;
            _ = killed(&self.entry) => return,
            settled = tokio::time::timeout(self.shared.options.limits.step, machine.settle()) => settled,
        };
        match settled {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(error = crate::error::chain(&e), "a sandbox did not settle"),
            Err(_) => tracing::warn!("settling a sandbox took too long"),
        }
    }

    /// Time until the deadline.
    fn left(&self) -> Duration {
        self.record.deadline().since(self.shared.options.clock.now())
    }

    /// Whether the daemon is to be asked who died for want of memory.
    fn note(&mut self, usage: Option<Usage>) -> bool {
        let Some(usage) = usage else { return false };
        let peaks = &mut self.peaks;
        peaks.memory = peaks.memory.max(usage.memory_peak).max(usage.memory);
        peaks.disk = peaks.disk.max(usage.disk);
        peaks.cpu_micros = peaks.cpu_micros.max(usage.cpu_micros);
        peaks.oom_kills = peaks.oom_kills.max(usage.oom_kills);
        self.oom.counted(usage.oom_kills, self.shared.options.clock.now())
    }

    /// One last reading before the end, if the host gives it at once.
    pub(super) async fn last_reading(&mut self) {
        if let Some(machine) = self.machine.clone() {
            let usage = tokio::time::timeout(AT_ONCE, read(&machine)).await;
            if self.note(usage.ok().flatten()) {
                self.ask_for_victims_within(&machine, AT_ONCE).await;
            }
        }
    }

    /// A caller that went away misses its answer, no more. Returns a turn for a
    /// wish that takes the sandbox out of this life.
    async fn answer(&mut self, request: Option<Request>, machine: &Arc<dyn Machine>) -> Option<Turn> {
        match request {
            // Closed only when the entry is gone, which the driver itself holds.
            None => {}
            Some(Request::SetDeadline(deadline, reply)) => {
                let result = self.set_deadline(deadline).await;
                let _ = reply.send(result);
            }
            Some(Request::Usage(reply)) => self.answer_usage(reply, machine).await,
            Some(Request::Seal(to, reply)) => {
                let result = self.seal(machine, &to).await;
                let _ = reply.send(result);
            }
            Some(Request::Resume { reply, .. }) => {
                let _ = reply.send(Ok(self.observation()));
            }
            Some(Request::Pause { keep, demands_answer, reply }) => {
                if !demands_answer || self.guest_answers(machine).await {
                    return Some(Turn::Pause(keep, Some(reply)));
                }
                // A kill does not wait for the daemon, and says nothing of it.
                let id = self.id().clone();
                let is_killed = self.entry.kill.borrow().is_some();
                let _ = reply.send(Err(if is_killed { Error::Ending(id) } else { Error::Unresponsive(id) }));
            }
            Some(Request::Checkpoint { keep, turn, reply }) => {
                return self.answer_checkpoint(keep, machine, (turn, reply)).await.err().map(Turn::Halt);
            }
            Some(Request::Rollback { to, timeout, reply }) => {
                return Some(Turn::Rollback(to, timeout, reply));
            }
        }
        None
    }

    async fn answer_usage(
        &mut self,
        reply: oneshot::Sender<Result<Usage, Error>>,
        machine: &Arc<dyn Machine>,
    ) {
        let reading = tokio::select! {
            biased;
            _ = killed(&self.entry) => return,
            reading = tokio::time::timeout(READING, machine.usage()) => reading,
        };
        let what = "reading the usage";
        let result = match reading {
            Ok(result) => result.map_err(|e| Error::host(self.id().clone(), what, e)),
            Err(elapsed) => Err(Error::host(self.id().clone(), what, elapsed)),
        };
        let asks = self.note(result.as_ref().ok().copied());
        let _ = reply.send(result);
        if asks {
            self.ask_for_victims(machine).await;
        }
    }

    /// Ends the sandbox, and keeps what it wrote before the undo removes it.
    async fn seal(&mut self, machine: &Arc<dyn Machine>, to: &Path) -> Result<(), Error> {
        // The end that follows is ours, not a crash.
        self.entry.ring_kill(EndCause::Killed(model::KilledBy::Operator));
        let what = "sealing the layer";
        let sealing = async {
            machine.kill().await?;
            self.shared.options.backend.seal(&self.spec, to).await
        };
        match tokio::time::timeout(SEALING, sealing).await {
            Ok(result) => result.map_err(|e| Error::host(self.id().clone(), what, e)),
            Err(elapsed) => Err(Error::host(self.id().clone(), what, elapsed)),
        }
    }

    /// On disk first: an acknowledged deadline survives a kill of the server.
    async fn set_deadline(&mut self, deadline: model::Timestamp) -> Result<Observation, Error> {
        if !matches!(transition(self.state, Event::SetDeadline), Decision::Accept(..)) {
            return Err(Error::Ending(self.id().clone()));
        }
        let mut record = self.record.clone();
        record.set_deadline(deadline);
        let (copy, dir) = (record.clone(), self.dir());
        let written = disk::blocking(move || copy.amend(&dir)).await;
        written.map_err(|e| Error::host(self.id().clone(), "recording the deadline", e))?;
        self.record = record;
        self.apply(Event::SetDeadline);
        Ok(self.observation())
    }
}

async fn sample(at: Instant, machine: &Arc<dyn Machine>) -> Option<Usage> {
    tokio::time::sleep_until(at).await;
    tokio::time::timeout(READING, read(machine)).await.ok().flatten()
}

async fn read(machine: &Arc<dyn Machine>) -> Option<Usage> {
    match machine.usage().await {
        Ok(usage) => Some(usage),
        Err(e) => {
            tracing::debug!(error = crate::error::chain(&e), "reading the usage of a sandbox");
            None
        }
    }
}

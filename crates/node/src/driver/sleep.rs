//! The life of a sandbox that sleeps: wait for a wish to wake it, or for its end.

use std::sync::Arc;
use std::time::Duration;

use model::lifecycle::Event;
use model::{EndCause, Slot};

use super::step::{StepError, killed};
use super::{Driver, Halt, Reply};
use crate::error::chain;
use crate::faults::Point;
use crate::generation::{Hold, Waking};
use crate::shared::Request;
use crate::{Error, disk};

/// Why it was not woken.
enum Unwoken {
    /// It sleeps on; the caller gets this.
    Refused(Error),
    /// A step failed: what was begun has to be undone.
    Failed(&'static str, StepError),
    /// Somebody wants it gone.
    Killed(EndCause),
}

impl Driver {
    /// Sleeps until it is usable again.
    pub(super) async fn sleep(&mut self) -> Result<(), Halt> {
        let leave = self.shared.tasks.leave().clone();
        loop {
            let request = tokio::select! {
                biased;
                cause = killed(&self.entry) => return Err(Halt::End(cause)),
                () = leave.cancelled() => return Err(Halt::Leave),
                request = self.requests.recv() => request,
            };
            if let Some((timeout, waking, reply)) = self.answer_asleep(request).await
                && Box::pin(self.wake(timeout, waking, reply)).await?
            {
                return Ok(());
            }
        }
    }

    /// Refuses all but a wish to wake it.
    async fn answer_asleep(&mut self, request: Option<Request>) -> Option<(Duration, Waking, Reply)> {
        let id = self.id().clone();
        let paused = || Error::Paused(id.clone());
        match request? {
            Request::Resume { timeout, waking, reply } => return Some((timeout, waking, reply)),
            Request::Rollback { to, timeout, reply } => match self.turn_back(to).await {
                Ok(()) => return Some((timeout, Waking::Kept, reply)),
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            },
            Request::Checkpoint { turn, reply, .. } => {
                drop(turn);
                let _ = reply.send(Err(paused()));
            }
            Request::Pause { reply, .. } | Request::SetDeadline(_, reply) => {
                let _ = reply.send(Err(paused()));
            }
            Request::Usage(reply) => {
                let _ = reply.send(Err(paused()));
            }
            Request::Seal(_, reply) => {
                let _ = reply.send(Err(paused()));
            }
        }
        None
    }

    /// Wakes it; `false` if it sleeps on.
    pub(super) async fn wake(
        &mut self,
        timeout: Duration,
        waking: Waking,
        reply: Reply,
    ) -> Result<bool, Halt> {
        match self.try_wake(timeout, waking).await {
            Ok(()) => {
                self.open_reach();
                self.apply(Event::StepDone);
                tracing::info!(?waking, "sandbox resumed");
                let _ = reply.send(Ok(self.observation()));
                Ok(true)
            }
            Err(Unwoken::Killed(cause)) => Err(Halt::End(cause)),
            Err(Unwoken::Refused(error)) => {
                let _ = reply.send(Err(error));
                Ok(false)
            }
            Err(Unwoken::Failed(step, source)) => {
                tracing::warn!(step, error = chain(&source), "a sandbox does not wake");
                // Before what was begun gives its room back.
                let is_full = source.is_full_disk(&self.shared.options.bulk_dir).await;
                self.put_down().await?;
                self.apply(Event::StepFailed);
                let sandbox_id = self.id().clone();
                let error = if is_full {
                    Error::DiskFull { sandbox_id, what: step, why: chain(&source) }
                } else {
                    Error::Resume { sandbox_id, step, source: chain(&source).into() }
                };
                let _ = reply.send(Err(error));
                Ok(false)
            }
        }
    }

    async fn try_wake(&mut self, timeout: Duration, waking: Waking) -> Result<(), Unwoken> {
        if waking == Waking::Kept && self.record.keeps_memory() && self.record.was_unresponsive() {
            return Err(Unwoken::Refused(Error::WasUnresponsive(self.id().clone())));
        }
        self.take_slot(timeout).await.map_err(Unwoken::Refused)?;
        self.apply(Event::Resume);
        let entry = Arc::clone(&self.entry);
        let version = tokio::select! {
            biased;
            cause = killed(&entry) => return Err(Unwoken::Killed(cause)),
            walked = self.start_again(waking) => walked.map_err(|(step, e)| Unwoken::Failed(step, e))?,
        };
        let recording = |e| Unwoken::Failed("writing its record", e);
        self.shared.options.faults.at(Point::BeforeAwake).await.map_err(|e| recording(e.into()))?;
        let before = self.record.clone();
        self.note_version(&version);
        self.record.set_awake(self.shared.options.clock.now());
        let (copy, dir) = (self.record.clone(), self.dir());
        if let Err(e) = disk::blocking(move || copy.write(&dir)).await {
            self.record = before;
            return Err(recording(e.into()));
        }
        // It has a writable layer of its own again, and its record says so.
        self.hold = Hold::default();
        Ok(())
    }

    /// Takes a place on the host and writes that down; all of it or nothing.
    async fn take_slot(&mut self, timeout: Duration) -> Result<(), Error> {
        let resources = self.record.resources();
        // One whose record could not be written kept the place it had.
        let slot = if self.record.is_parked() {
            self.shared.ledger().claim(&resources).map_err(Error::exhausted)?
        } else {
            Slot(self.record.slot)
        };
        let mut record = self.record.clone();
        record.set_waking(slot, timeout);
        let (copy, dir) = (record.clone(), self.dir());
        // It still sleeps, should the host lose its power before it is up.
        if let Err(e) = disk::blocking(move || copy.write_whole(&dir)).await {
            if self.record.is_parked() {
                self.shared.ledger().release(slot, &resources);
            }
            let what = "recording the resume";
            return Err(Error::host(self.id().clone(), what, e));
        }
        self.spec = Arc::new(record.spec(self.id(), &self.dir()));
        self.record = record;
        Ok(())
    }
}

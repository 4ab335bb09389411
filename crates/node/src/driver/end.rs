//! The end: everything is undone, the record of the end kept, the rest forgotten.
//!
//! The cause is on disk before the first act, so that a server that is killed
//! in between goes on with the same cause.

use std::future::Future;
use std::sync::Arc;

use model::EndCause;
use model::lifecycle::Event;
use runtime::Machine;

use super::Driver;
use super::step::{StepError, bounded};
use crate::error::chain;
use crate::faults::Point;
use crate::nouns::Purpose;
use crate::{Ended, disk};

impl Driver {
    /// Takes back a start of which only the record was made. It never was a
    /// sandbox: it leaves no record of an end.
    pub(super) async fn withdraw(mut self) {
        let cause = EndCause::StartFailed;
        if let Err(error) = self.clear_dir().await {
            tracing::warn!(error = chain(&error), "taking a start back");
            return self.end(cause).await;
        }
        self.apply(Event::Kill(cause));
        self.apply(Event::Undone);
        self.shared.release(&self.record);
        let ended = self.how_it_ended(cause);
        self.shared.leave_view(&self.entry, ended);
    }

    fn how_it_ended(&self, cause: EndCause) -> Ended {
        Ended {
            sandbox_id: self.id().clone(),
            cause,
            started_at: self.record.started_at(),
            ended_at: self.shared.options.clock.now(),
            peaks: self.peaks,
            oom_victims: self.oom.victims().to_vec(),
        }
    }

    /// Removes the sandbox. Returns when it is gone from the host, or when the
    /// server leaves; it is gone from view at the latest after the first few attempts.
    pub(super) async fn end(&mut self, cause: EndCause) {
        self.apply(Event::Kill(cause));
        self.entry.ended.cancel();
        self.last_reading().await;
        self.record.set_ending(cause);
        let ended = self.how_it_ended(cause);
        self.record_cause().await;
        let retries = self.shared.options.limits.undo_retries;
        let mut done = self.attempt(&ended).await;
        for wait in retries {
            if done {
                break;
            }
            tokio::time::sleep(wait).await;
            done = self.attempt(&ended).await;
        }
        if done {
            self.shared.release(&self.record);
        } else {
            self.shared.blocked().insert(self.id().clone());
            // Who sees that it is gone asks why at once.
            self.shared.ended.know(ended.clone());
        }
        self.apply(Event::Undone);
        match self.entry.purpose {
            Purpose::Client => tracing::info!(%cause, "sandbox ended"),
            // Each step of a build ends so, and its build tells what came of it.
            Purpose::Build => tracing::debug!(%cause, "the sandbox of a build ended"),
        }
        self.shared.leave_view(&self.entry, ended.clone());
        if !done {
            self.undo_in_the_background(&ended).await;
        }
    }

    /// The slot stays taken until the host is clean: a new sandbox in it would
    /// meet the remains of this one.
    async fn undo_in_the_background(&mut self, ended: &Ended) {
        tracing::error!(slot = self.record.slot, "a sandbox could not be removed; its slot stays taken");
        let leave = self.shared.tasks.leave().clone();
        loop {
            tokio::select! {
                biased;
                () = leave.cancelled() => return,
                () = tokio::time::sleep(self.shared.options.limits.undo_again) => {}
            }
            if self.attempt(ended).await {
                self.shared.release(&self.record);
                self.shared.blocked().remove(self.id());
                tracing::info!(slot = self.record.slot, "the remains of a sandbox are removed");
                return;
            }
        }
    }

    async fn attempt(&mut self, ended: &Ended) -> bool {
        match self.undo(ended).await {
            Ok(()) => true,
            Err(e) => {
                tracing::warn!(error = chain(&e), "removing a sandbox");
                false
            }
        }
    }

    /// Undoes every step, whether it was done, half-done or never begun.
    async fn undo(&mut self, ended: &Ended) -> Result<(), StepError> {
        let (shared, spec) = (Arc::clone(&self.shared), Arc::clone(&self.spec));
        let backend = &shared.options.backend;
        self.undo_step(Point::BeforeKill, self.kill_machine()).await?;
        // The slot of one that sleeps may be another's by now.
        if self.record.is_parked() {
            self.undo_step(Point::BeforeUnprepare, backend.discard(&spec)).await?;
        } else {
            self.undo_step(Point::BeforeUnprepare, backend.unprepare(&spec)).await?;
        }
        self.undo_step(Point::BeforeUnreserve, backend.unreserve(&spec)).await?;
        self.remember(ended).await
    }

    /// Ends its processes, also of a machine that nobody holds: a boot that was cut off, or
    /// a server before this one, may have left it.
    pub(super) async fn kill_machine(&self) -> Result<(), runtime::Error> {
        let found = match self.machine.clone() {
            Some(machine) => Some(machine),
            None => self.shared.options.backend.adopt(&self.spec).await?,
        };
        match found {
            Some(machine) => Machine::kill(&*machine).await,
            None => Ok(()),
        }
    }

    /// Keeps the record of the end, then removes the sandbox's directory. Without a
    /// limit in time: a file operation cannot be called back, and one that ended
    /// late would meet the next sandbox of this id.
    async fn remember(&self, ended: &Ended) -> Result<(), StepError> {
        let (shared, ended) = (Arc::clone(&self.shared), ended.clone());
        let keep = disk::blocking(move || shared.ended.keep(ended));
        if self.entry.purpose == Purpose::Client {
            self.pass_undo(Point::BeforeRemember).await?;
            match keep.await {
                // The machine and its files are gone: no slot waits for room for a
                // note. It stays in memory, and the control plane has its own.
                Err(e) if disk::is_full(&e) => {
                    tracing::error!(error = chain(&e), "the record of an end is kept in memory only");
                }
                kept => kept?,
            }
        }
        self.pass_undo(Point::BeforeForget).await?;
        Ok(self.clear_dir().await?)
    }

    async fn clear_dir(&self) -> Result<(), disk::Error> {
        let (shared, dir) = (Arc::clone(&self.shared), self.dir());
        disk::blocking(move || shared.spares.clear(&dir)).await
    }

    /// Passes a fault point.
    async fn pass_undo(&self, point: Point) -> Result<(), StepError> {
        Ok(self.shared.options.faults.at(point).await?)
    }

    pub(super) async fn undo_step<E: Into<StepError>>(
        &self,
        point: Point,
        work: impl Future<Output = Result<(), E>>,
    ) -> Result<(), StepError> {
        bounded(&*self.shared.options.faults, point, self.shared.options.limits.undo_step, work).await
    }

    /// A sandbox that never got its record has no directory either: nothing to say then.
    async fn record_cause(&self) {
        let (record, dir) = (self.record.clone(), self.dir());
        let write = move || match dir.exists() {
            true if record.is_asleep() => record.write_whole(&dir),
            true => record.amend(&dir),
            false => Ok(()),
        };
        let written = disk::blocking(write).await;
        if let Err(e) = written {
            tracing::warn!(error = chain(&e), "recording why a sandbox ends");
        }
    }
}

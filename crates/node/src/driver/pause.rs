//! Going to sleep: the processes end, the files stay.
//!
//! The decision is on disk before the first act. From then on the sandbox is its
//! files: whatever fails or dies afterwards, here or in the next server, the way
//! leads to sleep, and nothing but a kill removes them. (So a sandbox that is
//! being woken and cannot be goes the same way.)

use std::sync::Arc;
use std::time::Duration;

use model::lifecycle::Event;
use runtime::Machine;

use super::step::{StepError, killed};
use super::{Driver, Halt, Reply};
use crate::error::chain;
use crate::faults::Point;
use crate::guest::Guest;
use crate::record::Record;
use crate::{Error, Keep, disk};

/// A daemon answers in a millisecond; one that does not within this is stuck.
const ANSWER: Duration = Duration::from_secs(5);

/// Why it does not sleep with its memory.
enum Unsuspended {
    /// It runs on as it was.
    GoesOn(StepError),
    /// It is to be removed, or the server leaves.
    Halt(Halt),
}

impl Driver {
    /// Whether the daemon answers, unless somebody kills the sandbox meanwhile.
    pub(super) async fn guest_answers(&self, machine: &Arc<dyn Machine>) -> bool {
        let guest = Guest::new(machine.dialer());
        self.unless_killed(guest.answers(ANSWER)).await
    }

    /// Asks the daemon to give up what need not be written down; whether it answers.
    pub(super) async fn guest_rests(&self, machine: &Arc<dyn Machine>) -> bool {
        let guest = Guest::new(machine.dialer());
        self.unless_killed(guest.rests(ANSWER)).await
    }

    async fn unless_killed(&self, answers: impl Future<Output = bool>) -> bool {
        tokio::select! {
            biased;
            _ = killed(&self.entry) => false,
            answers = answers => answers,
        }
    }

    /// Puts a usable sandbox to sleep. If it cannot be, it goes on as it was.
    pub(super) async fn pause(&mut self, keep: Keep, reply: Option<Reply>) -> Result<(), Halt> {
        if keep == Keep::Files {
            return self.pause_files(reply).await;
        }
        match self.suspend().await {
            Ok(()) => self.asleep(reply, "sandbox paused, its memory kept"),
            Err(Unsuspended::Halt(halt)) => return Err(halt),
            // Its time is up: what can be kept is kept.
            Err(Unsuspended::GoesOn(source)) if reply.is_none() => {
                tracing::warn!(error = chain(&source), "its memory cannot be kept; its files are");
                return self.pause_files(None).await;
            }
            Err(Unsuspended::GoesOn(source)) => {
                tracing::warn!(error = chain(&source), "a sandbox is not paused and goes on");
                let error = self.not_kept(&source);
                let _ = reply.map(|reply| reply.send(Err(error)));
            }
        }
        Ok(())
    }

    fn asleep(&mut self, reply: Option<Reply>, message: &'static str) {
        self.apply(Event::StepDone);
        tracing::info!("{message}");
        if let Some(reply) = reply {
            let _ = reply.send(Ok(self.observation()));
        }
    }

    async fn pause_files(&mut self, reply: Option<Reply>) -> Result<(), Halt> {
        let mut record = self.record.clone();
        record.set_pausing(self.shared.options.clock.now());
        if let Err(e) = self.store_record(&record).await {
            return self.refuse_pause(reply, e);
        }
        self.last_reading().await;
        self.record = record;
        self.apply(Event::Pause);
        // After the phase: whoever is cut off finds it paused when it looks again.
        self.entry.set_reach(None);
        self.put_down().await?;
        self.asleep(reply, "sandbox paused, its files kept");
        Ok(())
    }

    /// Puts it to sleep with its memory. The record names the generation before it
    /// is made, and the machine stands until the generation is named: a server that dies
    /// in between finds one or the other (or, after a host's restart, the files).
    async fn suspend(&mut self) -> Result<(), Unsuspended> {
        let Some(machine) = self.machine.clone() else { return Ok(()) };
        let is_healthy = self.guest_rests(&machine).await;
        let draft = self.draft();
        let before = self.record.clone();
        let mut record = before.clone();
        record.set_writing(self.shared.options.clock.now(), draft.id, is_healthy);
        self.store_record(&record).await.map_err(|e| Unsuspended::GoesOn(e.into()))?;
        self.last_reading().await;
        self.record = record;
        self.apply(Event::Pause);
        self.entry.set_reach(None);
        let entry = Arc::clone(&self.entry);
        let named = tokio::select! {
            biased;
            cause = killed(&entry) => return Err(Unsuspended::Halt(Halt::End(cause))),
            named = self.stop_on_generation(draft, &machine, is_healthy) => named,
        };
        let named = match named {
            Ok(named) => named,
            Err(source) => return Err(self.go_on_unpaused(before, source).await),
        };
        // Written down when it is parked: until then a server that starts finds the
        // generation by its name, which the record has.
        self.record.set_sleeping_on(named.id, true);
        self.hold = named.hold;
        self.put_down().await.map_err(Unsuspended::Halt)
    }

    /// The machine was not stopped: it is usable again.
    async fn go_on_unpaused(&mut self, before: Record, source: StepError) -> Unsuspended {
        // If this cannot be written, a server that starts finds no generation of
        // that name, and a machine that runs.
        if let Err(e) = self.store_record(&before).await {
            tracing::warn!(error = chain(&e), "recording that a sandbox goes on");
        }
        self.record = before;
        self.apply(Event::StepFailed);
        self.open_reach();
        Unsuspended::GoesOn(source)
    }

    pub(super) async fn store_record(&self, record: &Record) -> Result<(), disk::Error> {
        let (copy, dir) = (record.clone(), self.dir());
        disk::blocking(move || copy.store(&dir)).await
    }

    /// Without a pause at the timeout, its time is still up.
    fn refuse_pause(&self, reply: Option<Reply>, error: disk::Error) -> Result<(), Halt> {
        tracing::error!(error = chain(&error), "a sandbox cannot be paused");
        let Some(reply) = reply else { return Err(Halt::End(model::EndCause::Timeout)) };
        let what = "recording the pause";
        let _ = reply.send(Err(Error::host(self.id().clone(), what, error)));
        Ok(())
    }

    /// Ends the machine and gives back all but the files. Tried until it is done,
    /// somebody kills the sandbox, or the server leaves.
    pub(super) async fn put_down(&mut self) -> Result<(), Halt> {
        let limits = self.shared.options.limits;
        let mut waits = limits.undo_retries.into_iter().chain(std::iter::repeat(limits.undo_again));
        let (leave, entry) = (self.shared.tasks.leave().clone(), Arc::clone(&self.entry));
        loop {
            let attempt = tokio::select! {
                biased;
                cause = killed(&entry) => return Err(Halt::End(cause)),
                () = leave.cancelled() => return Err(Halt::Leave),
                attempt = self.park() => attempt,
            };
            let Err(e) = attempt else { return self.parked().await };
            tracing::warn!(error = chain(&e), "putting a sandbox to sleep");
            tokio::select! {
                biased;
                cause = killed(&entry) => return Err(Halt::End(cause)),
                () = leave.cancelled() => return Err(Halt::Leave),
                () = tokio::time::sleep(waits.next().unwrap_or(limits.undo_again)) => {}
            }
        }
    }

    /// One attempt; safe after one that stopped anywhere.
    async fn park(&self) -> Result<(), StepError> {
        let (shared, spec) = (Arc::clone(&self.shared), Arc::clone(&self.spec));
        let backend = &shared.options.backend;
        self.undo_step(Point::BeforeSleep, self.kill_machine()).await?;
        // What it sleeps on has all its files; the writable layer may hold what a
        // wake that failed has written since.
        if self.record.sleeping_on().is_some() {
            self.undo_step(Point::BeforePark, backend.unprepare(&spec)).await?;
        } else {
            self.undo_step(Point::BeforePark, backend.park(&spec)).await?;
        }
        self.undo_step(Point::BeforeParked, backend.unreserve(&spec)).await
    }

    /// The host holds nothing of it but its files: so says the record, and only
    /// then does its place go to others.
    async fn parked(&mut self) -> Result<(), Halt> {
        self.machine = None;
        let mut record = self.record.clone();
        record.set_parked();
        if let Err(e) = self.store_record(&record).await {
            // A server that starts now finds it half-way and goes this way again.
            // Until then the slot must stay ours, or it would undo another's.
            tracing::error!(error = chain(&e), slot = record.slot, "a paused sandbox keeps its slot");
            return Ok(());
        }
        self.shared.release(&self.record);
        self.record = record;
        Ok(())
    }
}

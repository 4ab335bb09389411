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

use super::step::{StepError, chain, killed};
use super::{Driver, Halt, Reply};
use crate::faults::Point;
use crate::guest::Guest;
use crate::{Error, disk};

/// A daemon answers in a millisecond; one that does not within this is stuck.
const ANSWER: Duration = Duration::from_secs(5);

impl Driver {
    /// Whether the daemon answers, unless somebody kills the sandbox meanwhile.
    pub(super) async fn guest_answers(&self, machine: &Arc<dyn Machine>) -> bool {
        let guest = Guest::new(machine.dialer());
        tokio::select! {
            biased;
            _ = killed(&self.entry) => false,
            answers = guest.answers(ANSWER) => answers,
        }
    }

    /// Puts a usable sandbox to sleep. If the decision cannot be written down,
    /// it goes on as it was.
    pub(super) async fn pause(&mut self, reply: Option<Reply>) -> Result<(), Halt> {
        let mut record = self.record.clone();
        record.set_pausing(self.shared.options.clock.now());
        let (copy, dir) = (record.clone(), self.dir());
        if let Err(e) = disk::blocking(move || copy.store(&dir)).await {
            return self.refuse_pause(reply, e);
        }
        self.last_reading().await;
        self.record = record;
        self.apply(Event::Pause);
        // After the phase: whoever is cut off finds it paused when it looks again.
        self.entry.set_reach(None);
        self.put_down().await?;
        self.apply(Event::StepDone);
        tracing::info!("sandbox paused, its files kept");
        if let Some(reply) = reply {
            let _ = reply.send(Ok(self.observation()));
        }
        Ok(())
    }

    /// Without a pause at the timeout, its time is still up.
    fn refuse_pause(&self, reply: Option<Reply>, error: disk::Error) -> Result<(), Halt> {
        tracing::error!(error = chain(&error), "a sandbox cannot be paused");
        let Some(reply) = reply else { return Err(Halt::End(model::EndCause::Timeout)) };
        let what = "recording the pause";
        let _ = reply.send(Err(Error::Host { sandbox_id: self.id().clone(), what, source: error.into() }));
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
        let machine = self.machine.clone();
        let kill = async {
            let found = match machine {
                Some(machine) => Some(machine),
                None => backend.adopt(&spec).await?,
            };
            match found {
                Some(machine) => Machine::kill(&*machine).await,
                None => Ok(()),
            }
        };
        self.undo_step(Point::BeforeSleep, kill).await?;
        self.undo_step(Point::BeforePark, backend.park(&spec)).await?;
        self.undo_step(Point::BeforeParked, backend.unreserve(&spec)).await
    }

    /// The host holds nothing of it but its files: so says the record, and only
    /// then does its place go to others.
    async fn parked(&mut self) -> Result<(), Halt> {
        self.machine = None;
        let mut record = self.record.clone();
        record.set_parked();
        let (copy, dir) = (record.clone(), self.dir());
        if let Err(e) = disk::blocking(move || copy.store(&dir)).await {
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

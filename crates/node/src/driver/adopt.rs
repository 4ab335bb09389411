//! Taking over a sandbox after a restart, from nothing but its record.

use std::time::Duration;

use model::EndCause;
use model::lifecycle::State;

use crate::error::chain;
use crate::generation::Hold;
use crate::nouns::Purpose;

use super::step::killed;
use super::{Driver, Halt};
use crate::disk;

/// A look that failed is repeated: a sandbox is not given up for a moment's trouble.
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(2)];

impl Driver {
    /// Finds the machine of a sandbox that was usable. Anything else is removed:
    /// what was being removed, what was half-made, what died in the meantime.
    pub(super) async fn adopt(&mut self) -> Result<(), Halt> {
        if let Some(cause) = self.record.ending() {
            return Err(Halt::End(cause));
        }
        // What a build had half-made is made again by the next one.
        if self.record.started_at().is_none() || self.entry.purpose == Purpose::Build {
            return Err(Halt::End(EndCause::HostLost));
        }
        if let Some(to) = self.record.writing_to() {
            self.adopt_half_written(to).await?;
        }
        if self.record.is_asleep() {
            return self.adopt_asleep().await;
        }
        tokio::select! {
            biased;
            cause = killed(&self.entry) => return Err(Halt::End(cause)),
            machine = self.look() => self.machine = machine,
        }
        if self.machine.is_none() {
            return Err(Halt::End(EndCause::HostLost));
        }
        tracing::info!(isolation = %self.shared.options.backend.isolation(), "sandbox adopted");
        // Not an event of its life: it was running all the time.
        self.state = State::Running;
        self.open_reach();
        self.show(crate::Phase::Running);
        Ok(())
    }

    /// A server died while it wrote this sandbox down: either the generation has
    /// its name, or the machine still runs, or it has ended and left its files.
    async fn adopt_half_written(&mut self, to: model::GenerationId) -> Result<(), Halt> {
        let mut record = self.record.clone();
        if self.shared.shelf.exists(to) {
            // That server may have ended before the name was on the disk.
            let kept = std::sync::Arc::clone(&self.shared.shelf);
            if let Err(e) = disk::blocking(move || kept.store_names()).await {
                tracing::warn!(error = chain(&e), "writing back the name of a state");
            }
            record.set_sleeping_on(to, true);
        } else {
            let found = tokio::select! {
                biased;
                cause = killed(&self.entry) => return Err(Halt::End(cause)),
                found = self.look() => found,
            };
            self.hold = Hold::default();
            if found.is_some() {
                tracing::info!("a sandbox whose pause was cut off runs on");
                record.set_unpaused();
            } else {
                tracing::warn!("a pause was cut off after its machine had ended; its files are kept");
                record.set_pausing(record.shown_deadline());
            }
        }
        if let Err(e) = self.store_record(&record).await {
            tracing::warn!(error = chain(&e), "recording what a cut-off pause left");
        }
        self.record = record;
        Ok(())
    }

    /// Files are all that counts of one that sleeps or was on its way there or
    /// back: whatever stands of a machine goes.
    async fn adopt_asleep(&mut self) -> Result<(), Halt> {
        self.state = if self.record.is_parked() { State::Paused } else { State::Pausing };
        if self.state == State::Pausing {
            self.show(crate::Phase::Pausing);
            self.put_down().await?;
            self.state = State::Paused;
        }
        self.show(crate::Phase::Paused);
        Ok(())
    }

    async fn look(&self) -> Option<std::sync::Arc<dyn runtime::Machine>> {
        let options = &self.shared.options;
        for wait in LOOKS {
            tokio::time::sleep(wait).await;
            match tokio::time::timeout(options.limits.step, options.backend.adopt(&self.spec)).await {
                Ok(Ok(found)) => return found,
                Ok(Err(e)) => tracing::warn!(error = chain(&e), "looking for the machine of a sandbox"),
                Err(_) => tracing::warn!("looking for the machine of a sandbox took too long"),
            }
        }
        None
    }
}

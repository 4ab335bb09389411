//! Going back to a state of the same sandbox that was written down.
//!
//! The decision is one write of the record: before it the sandbox is what it was,
//! after it what it was then. Its processes end first, so a decision that cannot
//! be written down leaves it asleep with the files that it had.

use std::time::Duration;

use super::checkpoint::keeps_memory;
use super::{Driver, Halt, Reply};
use crate::error::chain;
use crate::generation::Waking;
use crate::{Checkpoint, Error, Keep};

impl Driver {
    /// Takes a usable sandbox back, to live this long from there.
    pub(super) async fn roll_back(
        &mut self,
        to: Checkpoint,
        timeout: Duration,
        reply: Reply,
    ) -> Result<(), Halt> {
        let id = self.id().clone();
        let (asleep, answer) = tokio::sync::oneshot::channel();
        self.pause(Keep::Files, Some(asleep)).await?;
        let slept = answer.await.unwrap_or_else(|_| Err(Error::Ending(id)));
        let turned = match slept {
            Ok(_) => self.turn_back(to).await,
            Err(error) => Err(error),
        };
        match turned {
            Ok(()) => self.wake(timeout, Waking::Kept, reply).await.map(drop),
            Err(error) => {
                let _ = reply.send(Err(error));
                Ok(())
            }
        }
    }

    /// Lets one that sleeps sleep on another state of it.
    pub(super) async fn turn_back(&mut self, to: Checkpoint) -> Result<(), Error> {
        let kept = &self.shared.shelf;
        if !kept.exists(to.generation) {
            return Err(Error::NoState(self.id().clone()));
        }
        let memory = to.keep == Keep::Memory && keeps_memory(kept, to.generation);
        let mut record = self.record.clone();
        record.set_sleeping_on(to.generation, memory);
        let what = "recording the rollback";
        self.store_record(&record).await.map_err(|e| Error::host(self.id().clone(), what, e))?;
        self.record = record;
        self.hold = to.hold;
        // Only room on the disk depends on it: the next wake removes it too.
        if let Err(e) = self.shared.options.backend.discard(&self.spec).await {
            tracing::warn!(error = chain(&e), "removing what a rollback leaves");
        }
        tracing::info!(generation = %to.generation, "sandbox rolled back");
        Ok(())
    }
}

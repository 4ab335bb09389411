//! Writing down what a sandbox is: into a generation that gets its name when it
//! is complete.
//!
//! Whatever fails on the way leaves a sandbox that goes on as it was, and beside
//! the generations a directory without a name, which the next sweep removes.

use std::path::Path;
use std::sync::Arc;

use model::lifecycle::Event;
use model::{ByteSize, GenerationId};
use runtime::{CheckpointTo, Checkpointed, Machine, Then};
use tokio::sync::oneshot;

use super::step::{StepError, bounded, chain, killed};
use super::{Driver, Halt};
use crate::faults::Point;
use crate::generation::{Hold, Made, Manifest, Shelf};
use crate::shared::Turn;
use crate::{Checkpoint, Error, Keep, disk};

/// A place for a generation that is being made. Held, so that no sweep takes it.
pub(super) struct Draft {
    pub(super) id: GenerationId,
    hold: Hold,
}

/// A draft whose state is written, and has no name yet.
pub(super) struct Written {
    draft: Draft,
    keep: Keep,
    done: Checkpointed,
}

impl Driver {
    /// Answers a wish for a checkpoint; the sandbox goes on in any case, unless it
    /// is killed meanwhile.
    pub(super) async fn answer_checkpoint(
        &mut self,
        keep: Keep,
        machine: &Arc<dyn Machine>,
        (turn, reply): (Turn, oneshot::Sender<Result<Checkpoint, Error>>),
    ) -> Result<(), Halt> {
        self.apply(Event::Snapshot);
        let entry = Arc::clone(&self.entry);
        let result = tokio::select! {
            biased;
            cause = killed(&entry) => return Err(Halt::End(cause)),
            result = self.checkpoint(keep, machine) => result,
        };
        self.apply(if result.is_ok() { Event::StepDone } else { Event::StepFailed });
        if let Ok(made) = &result
            && made.keep == Keep::Memory
        {
            self.add_kin(made.generation);
        }
        let result = result.map_err(|source| {
            tracing::warn!(error = chain(&source), "a sandbox's state was not kept");
            self.not_kept(&source)
        });
        // Before the answer: whoever has it may ask again at once.
        drop(turn);
        let _ = reply.send(result);
        Ok(())
    }

    pub(super) fn not_kept(&self, source: &StepError) -> Error {
        let (sandbox_id, why) = (self.id().clone(), chain(source));
        if disk::is_full(source) || disk::says_full(&why) {
            return Error::DiskFull { sandbox_id, what: "keeping the state", why };
        }
        Error::Checkpoint { sandbox_id, source: why.into() }
    }

    async fn checkpoint(&self, keep: Keep, machine: &Arc<dyn Machine>) -> Result<Checkpoint, StepError> {
        let is_healthy = keep == Keep::Files || self.guest_rests(machine).await;
        let draft = self.draft();
        let written = self.write_down(draft, keep, machine, Then::Continue).await?;
        self.publish_generation(written, is_healthy).await
    }

    /// Chooses a name. Nothing is on disk yet.
    pub(super) fn draft(&self) -> Draft {
        let id = GenerationId::from_random(*uuid::Uuid::new_v4().as_bytes());
        Draft { id, hold: Shelf::hold(&self.shared.shelf, id) }
    }

    /// Lets the backend write. On failure the machine goes on.
    pub(super) async fn write_down(
        &self,
        draft: Draft,
        keep: Keep,
        machine: &Arc<dyn Machine>,
        then: Then,
    ) -> Result<Written, StepError> {
        let options = &self.shared.options;
        let (kept, id) = (Arc::clone(&self.shared.shelf), draft.id);
        let staging = disk::blocking(move || kept.stage(id)).await?;
        let (layer, memory) = (staging.join("layer"), staging.join("memory"));
        let memory = (keep == Keep::Memory).then_some(memory.as_path());
        let to = CheckpointTo { layer: &layer, memory };
        let work = options.backend.checkpoint(&self.spec, machine, to, then);
        let done =
            bounded(&*options.faults, Point::BeforeCheckpoint, options.limits.checkpoint, work).await?;
        Ok(Written { draft, keep, done })
    }

    /// Gives what was written its name: from now on it exists.
    pub(super) async fn publish_generation(
        &self,
        written: Written,
        was_healthy: bool,
    ) -> Result<Checkpoint, StepError> {
        let options = &self.shared.options;
        let Written { draft: Draft { id, hold }, keep, done } = written;
        options.faults.at(Point::BeforePublish).await?;
        let mut manifest = Manifest::new(Made {
            generation: id,
            record: &self.record,
            at: options.clock.now(),
            backend: options.backend.isolation().to_string(),
            keep,
            memory_bytes: done.memory_bytes.as_u64(),
            was_healthy,
        });
        let shared = self.share_memory(id, &mut manifest).await;
        let kept = Arc::clone(&self.shared.shelf);
        disk::blocking(move || kept.publish(id, manifest)).await?;
        options.faults.at(Point::AfterPublish).await?;
        let (frozen_us, shared_bytes) = (done.frozen.as_micros(), shared.as_u64());
        tracing::info!(generation = %id, frozen_us, shared_bytes, "the sandbox's state was kept");
        Ok(Checkpoint { generation: id, keep, size: done.memory_bytes, frozen: done.frozen, hold })
    }
}

impl Driver {
    /// Notes a state whose memory it has in common.
    pub(super) fn add_kin(&mut self, id: GenerationId) {
        let kept = &self.shared.shelf;
        self.record.add_kin(id, |kin| kept.exists(kin));
    }

    /// Stores what the memory of a draft has in common with the youngest of its kin that
    /// stands only once. Without it the state takes more room, and nothing else.
    async fn share_memory(&self, id: GenerationId, manifest: &mut Manifest) -> ByteSize {
        let none = ByteSize::bytes(0);
        if !manifest.keeps_memory {
            return none;
        }
        let kept = &self.shared.shelf;
        for kin in self.record.kin() {
            // Held before it is looked at.
            let _hold = Shelf::hold(kept, kin);
            let look = Arc::clone(kept);
            let Ok(with) = disk::blocking(move || look.manifest(kin)).await else { continue };
            if !with.may_be_shared() {
                continue;
            }
            let (memory, with_memory) = (kept.staged_memory(id), kept.memory(kin));
            match self.shared.options.backend.share_memory(&memory, &with_memory).await {
                Ok(shared) if shared == none => return none,
                Ok(shared) => {
                    manifest.shares_with(&with);
                    return shared;
                }
                Err(e) => {
                    tracing::warn!(error = chain(&e), "a memory is stored without what it shares");
                    return none;
                }
            }
        }
        none
    }
}

/// Whether a generation is there with its memory, by its manifest.
pub(super) fn keeps_memory(shelf: &Shelf, id: GenerationId) -> bool {
    shelf.manifest(id).is_ok_and(|manifest| manifest.keeps_memory) && Path::is_dir(&shelf.memory(id))
}

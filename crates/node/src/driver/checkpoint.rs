//! Writing down what a sandbox is: into a generation that gets its name when it
//! is complete.
//!
//! Whatever fails on the way leaves a sandbox that goes on as it was, and beside
//! the generations a directory without a name, which the next sweep removes. One that
//! is to stop stands still until its generation has its name: until then it can go on,
//! and afterwards nothing of it is lost, whatever fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::lifecycle::Event;
use model::{ByteSize, GenerationId};
use runtime::{CheckpointTo, Checkpointed, Machine, Then};
use tokio::sync::oneshot;

use super::step::{StepError, bounded, killed};
use super::{Driver, Halt};
use crate::error::chain;
use crate::faults::Point;
use crate::generation::{Hold, Made, Manifest, Shelf};
use crate::shared::Turn;
use crate::{Checkpoint, Error, Keep, disk};

/// A place for a generation that is being made. Held, so that no sweep takes it.
pub(super) struct Draft {
    pub(super) id: GenerationId,
    hold: Hold,
}

/// A generation that has its name.
pub(super) struct Named {
    pub(super) id: GenerationId,
    pub(super) hold: Hold,
    shared: ByteSize,
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
        let to = self.stage(&draft).await?;
        let options = &self.shared.options;
        let (limit, paths) = (options.limits.checkpoint, to.paths(keep));
        let work = options.backend.checkpoint(&self.spec, machine, paths, Then::Continue);
        let done = bounded(&*options.faults, Point::BeforeCheckpoint, limit, work).await?;
        let named = self.name(draft, keep, done.memory_bytes, is_healthy).await?;
        options.faults.at(Point::AfterPublish).await?;
        named.say_it_was_kept(&done);
        let Named { id, hold, .. } = named;
        Ok(Checkpoint { generation: id, keep, size: done.memory_bytes, frozen: done.frozen, hold })
    }

    /// Writes down a sandbox with its memory, which has ended when this succeeds, and
    /// goes on when it fails.
    pub(super) async fn stop_on_generation(
        &self,
        draft: Draft,
        machine: &Arc<dyn Machine>,
        is_healthy: bool,
    ) -> Result<Named, StepError> {
        let to = self.stage(&draft).await?;
        let options = &self.shared.options;
        let (limit, paths) = (options.limits.checkpoint, to.paths(Keep::Memory));
        let (then, standing) = Then::stop();
        let mut work = options.backend.checkpoint(&self.spec, machine, paths, then);
        // What it answers is its failure, if it does not ask first.
        let until_written = async {
            tokio::select! {
                biased;
                Ok(standing) = standing => Ok(standing),
                done = &mut work => Err(done.map_or_else(StepError::from, |_| StepError::NotAsked)),
            }
        };
        let standing = bounded(&*options.faults, Point::BeforeCheckpoint, limit, until_written).await?;
        // Without a limit: a name that is given while nobody waits any more could not be
        // told from one that was never given.
        let named = match self.name(draft, Keep::Memory, standing.memory_bytes, is_healthy).await {
            Ok(named) => named,
            Err(source) => {
                drop(standing);
                // It goes on when this has come to its end.
                let _ = work.await;
                return Err(source);
            }
        };
        standing.end();
        let ended = bounded(&*options.faults, Point::AfterPublish, limit, work).await;
        match ended {
            Ok(done) => named.say_it_was_kept(&done),
            // Whoever puts it down ends it all the same.
            Err(source) => tracing::warn!(error = chain(&source), "ending a machine whose state was kept"),
        }
        Ok(named)
    }

    /// Chooses a name. Nothing is on disk yet.
    pub(super) fn draft(&self) -> Draft {
        let id = GenerationId::from_random(*uuid::Uuid::new_v4().as_bytes());
        Draft { id, hold: Shelf::hold(&self.shared.shelf, id) }
    }

    /// Makes the place for a draft.
    async fn stage(&self, draft: &Draft) -> Result<Staged, StepError> {
        let (kept, id) = (Arc::clone(&self.shared.shelf), draft.id);
        let dir = disk::blocking(move || kept.stage(id)).await?;
        Ok(Staged { layer: dir.join("layer"), memory: dir.join("memory") })
    }

    /// Gives what was written its name: from now on it exists.
    async fn name(
        &self,
        draft: Draft,
        keep: Keep,
        memory_bytes: ByteSize,
        was_healthy: bool,
    ) -> Result<Named, StepError> {
        let options = &self.shared.options;
        let Draft { id, hold } = draft;
        options.faults.at(Point::BeforePublish).await?;
        let mut manifest = Manifest::new(Made {
            generation: id,
            record: &self.record,
            at: options.clock.now(),
            backend: options.backend.isolation().to_string(),
            keep,
            memory_bytes: memory_bytes.as_u64(),
            was_healthy,
        });
        let shared = self.share_memory(id, &mut manifest).await;
        let kept = Arc::clone(&self.shared.shelf);
        disk::blocking(move || kept.publish(id, manifest)).await?;
        Ok(Named { id, hold, shared })
    }
}

impl Named {
    fn say_it_was_kept(&self, done: &Checkpointed) {
        let (frozen_us, shared_bytes) = (done.frozen.as_micros(), self.shared.as_u64());
        let rounds = done.rounds;
        tracing::info!(generation = %self.id, frozen_us, rounds, shared_bytes, "the sandbox's state was kept");
    }
}

/// Where the backend writes.
struct Staged {
    layer: PathBuf,
    memory: PathBuf,
}

impl Staged {
    fn paths(&self, keep: Keep) -> CheckpointTo<'_> {
        CheckpointTo { layer: &self.layer, memory: (keep == Keep::Memory).then_some(&*self.memory) }
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

//! Templates that wake instead of booting: a state of a sandbox that is ready, kept
//! by this server, from which the next sandboxes begin.
//!
//! ```text
//!   cold ── a create took its time ──▶ making ──▶ standing ── three creates were no faster ──▶ given up
//!                                        └── failed ──────────────────────────────────────────────┘
//! ```
//!
//! Only for templates whose sandboxes start something: an interpreter, a command.
//! The state is this server's alone: the next one has perhaps another guest, kernel
//! or checkpoint tool, and makes its own; what stands on disk is swept at its start.
//! Nothing depends on it. A create that cannot wake boots.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{BuildId, EndCause, KilledBy, Policy, SandboxId};
use tokio::sync::oneshot;

use crate::build::Start;
use crate::error::chain;
use crate::generation::{Checkpoint, Keep};
use crate::handle::Handle;
use crate::nouns::Purpose;
use crate::shared::Request;
use crate::states::Beginning;
use crate::template::Template;
use crate::{CreateSandbox, Error};

/// Creates that a state is judged by.
const TRIALS: u32 = 3;
/// How long the sandbox of a state may take to come to rest, and live at all.
const REST: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_mins(5);
/// At rest it uses less than [`IDLE`] of a processor's time in each [`LOOK`].
const LOOK: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_millis(10);

/// The states of a node.
#[derive(Debug, Default)]
pub(crate) struct Warm(Mutex<BTreeMap<BuildId, Stage>>);

#[derive(Debug)]
enum Stage {
    Making,
    Standing { state: Checkpoint, layers: Vec<PathBuf>, trial: Trial },
    GivenUp,
}

/// Whether waking is worth it, by the best of each: a busy moment says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trial {
    boot: Duration,
    wake: Option<Duration>,
    creates: u32,
}

impl Trial {
    fn new(boot: Duration) -> Self {
        Self { boot, wake: None, creates: 0 }
    }

    fn woke(self, took: Duration) -> Self {
        let wake = Some(self.wake.map_or(took, |best| best.min(took)));
        Self { wake, creates: self.creates.saturating_add(1), ..self }
    }

    fn is_lost(self) -> bool {
        self.creates >= TRIALS && self.wake.is_some_and(|wake| wake >= self.boot)
    }
}

impl Warm {
    /// Claims the making of a build's state; once in the life of a server.
    fn begin(&self, build_id: BuildId) -> bool {
        let mut stages = self.stages();
        let is_first = !stages.contains_key(&build_id);
        if is_first {
            stages.insert(build_id, Stage::Making);
        }
        is_first
    }

    /// What a sandbox of the build begins with.
    pub(crate) fn of(&self, build_id: BuildId) -> Option<Beginning> {
        match self.stages().get(&build_id)? {
            Stage::Standing { state, layers, .. } => {
                Some(Beginning { state: state.clone(), layers: Some(layers.clone()) })
            }
            Stage::Making | Stage::GivenUp => None,
        }
    }

    /// The state is made, unless the build was forgotten meanwhile.
    fn stand(&self, build_id: BuildId, standing: Stage) {
        if let Some(stage) = self.stages().get_mut(&build_id) {
            *stage = standing;
        }
    }

    /// A create woke, in this time.
    pub(crate) fn woke(&self, build_id: BuildId, took: Duration) {
        let mut stages = self.stages();
        let Some(stage) = stages.get_mut(&build_id) else { return };
        if let Stage::Standing { trial, .. } = stage {
            *trial = trial.woke(took);
            if trial.is_lost() {
                tracing::info!(%build_id, ?trial, "waking is no faster than booting: sandboxes boot");
                *stage = Stage::GivenUp;
            }
        }
    }

    /// Its sandboxes boot from now on.
    pub(crate) fn give_up(&self, build_id: BuildId) {
        self.stages().insert(build_id, Stage::GivenUp);
    }

    /// The build is gone.
    pub(crate) fn forget(&self, build_id: BuildId) {
        self.stages().remove(&build_id);
    }

    fn stages(&self) -> MutexGuard<'_, BTreeMap<BuildId, Stage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a sandbox may begin with the state of its template: it must be what the
/// state's own was but for what every waking tells anew. Processes that run keep
/// the variables that they were started with.
pub(crate) fn fits(request: &CreateSandbox, template: &Template) -> bool {
    let starts_something = template.interpreter || template.start != Start::default();
    starts_something
        && template.generation.is_none()
        && request.from.is_none()
        && request.env_vars.is_empty()
        && (request.wait_for_interpreter || !template.interpreter)
        && request.resources == template.resources()
}

impl Handle {
    /// After a boot that took this long: makes the state, in the background.
    pub(crate) fn warm_up(&self, request: &CreateSandbox, template: &Arc<Template>, boot: Duration) {
        let (build_id, shared) = (request.build_id, &self.shared);
        let options = &shared.options;
        if !options.warm || !fits(request, template) || options.backend.memory_checkpoints().is_err() {
            return;
        }
        if !shared.warm.begin(build_id) {
            return;
        }
        let (handle, template) = (self.clone(), Arc::clone(template));
        let again = Arc::clone(shared);
        let making = async move { handle.make_warm(build_id, &template, boot).await };
        let on_panic = move || async move { again.warm.give_up(build_id) };
        shared.tasks.spawn(tracing::info_span!("warm", %build_id), making, on_panic);
    }

    async fn make_warm(&self, build_id: BuildId, template: &Arc<Template>, boot: Duration) {
        let leave = self.shared.tasks.leave().clone();
        let made = leave.run_until_cancelled(self.warm_state(build_id, template)).await;
        match made {
            Some(Ok((state, layers))) => {
                let bytes = state.size.as_u64();
                tracing::info!(bytes, "sandboxes of this build wake from now on");
                self.shared.warm.stand(build_id, Stage::Standing { state, layers, trial: Trial::new(boot) });
            }
            // The host is full: the next create may find room.
            Some(Err(Error::Exhausted { .. })) | None => self.shared.warm.forget(build_id),
            Some(Err(error)) => {
                tracing::warn!(error = chain(&error), "no state of this build is kept: sandboxes boot");
                self.shared.warm.give_up(build_id);
            }
        }
    }

    /// A sandbox that nobody sees, as it is when it has come to rest.
    async fn warm_state(
        &self,
        build_id: BuildId,
        template: &Arc<Template>,
    ) -> Result<(Checkpoint, Vec<PathBuf>), Error> {
        let request = request(build_id, template)?;
        self.leave_room(&request)?;
        let (reply, asked) = oneshot::channel();
        self.admit(&request, template, Purpose::Build, reply)?;
        let sandbox = Unseen { handle: self, id: request.sandbox_id };
        asked.await.unwrap_or(Err(Error::ShuttingDown))?;
        // One that never rests is kept as it is.
        let _ = tokio::time::timeout(REST, sandbox.at_rest()).await;
        let entry = self.shared.entry(&sandbox.id).ok_or_else(|| Error::NotFound(sandbox.id.clone()))?;
        let turn = entry.take_turn().ok_or_else(|| Error::Snapshotting(sandbox.id.clone()))?;
        let keep = Keep::Memory;
        let state = self.ask(&sandbox.id, |reply| Request::Checkpoint { keep, turn, reply }).await?;
        let (_, manifest) = self.state(state.generation).await?;
        Ok((state, manifest.layers))
    }

    /// It stands for a moment only, but must not be the one that a client's create
    /// finds no room for: there has to be room for both.
    fn leave_room(&self, request: &CreateSandbox) -> Result<(), Error> {
        let mut ledger = self.shared.ledger();
        let slots = [ledger.claim(&request.resources), ledger.claim(&request.resources)];
        for slot in slots.iter().flatten() {
            ledger.release(*slot, &request.resources);
        }
        let [_, second] = slots;
        second.map(drop).map_err(Error::exhausted)
    }
}

fn request(build_id: BuildId, template: &Template) -> Result<CreateSandbox, Error> {
    let mut random = [0; 20];
    random[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    Ok(CreateSandbox {
        sandbox_id: SandboxId::from_random(random),
        template_id: template.owner.parse().map_err(|_| Error::UnknownBuild(build_id))?,
        build_id,
        resources: template.resources(),
        env_vars: BTreeMap::new(),
        access_token: None,
        timeout: LIFE,
        wait_for_interpreter: true,
        policy: Policy::default(),
        from: None,
    })
}

/// A sandbox out of everybody's view; dropping it asks for its removal.
struct Unseen<'a> {
    handle: &'a Handle,
    id: SandboxId,
}

impl Unseen<'_> {
    /// Returns when it uses next to no processor.
    async fn at_rest(&self) {
        let mut before = None;
        while let Ok(usage) = self.handle.ask(&self.id, Request::Usage).await {
            let used = Duration::from_micros(usage.cpu_micros);
            if before.is_some_and(|before| used.saturating_sub(before) < IDLE) {
                return;
            }
            before = Some(used);
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.handle.shared.entry(&self.id) {
            entry.ring_kill(EndCause::Killed(KilledBy::Operator));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Given up is what was tried often enough and was never faster.
        #[test]
        fn the_best_of_each_decides(boot in 1u64..1000, wakes in prop::collection::vec(1u64..1000, 0..6)) {
            let ms = Duration::from_millis;
            let trial = wakes.iter().fold(Trial::new(ms(boot)), |trial, wake| trial.woke(ms(*wake)));
            let slower = wakes.iter().all(|wake| *wake >= boot);
            prop_assert_eq!(trial.is_lost(), wakes.len() >= 3 && slower);
        }
    }

    #[test]
    fn a_state_is_made_once() {
        let warm = Warm::default();
        let build = BuildId::from_u128(1);
        assert!(warm.begin(build) && !warm.begin(build));
        warm.give_up(build);
        assert!(!warm.begin(build) && warm.of(build).is_none());
        warm.forget(build);
        assert!(warm.begin(build));
    }
}

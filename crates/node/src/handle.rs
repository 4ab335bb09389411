//! The only way in: calls go down through the handle, facts come up as watched
//! observations.

use std::path::PathBuf;
use std::sync::Arc;

use model::{BuildId, EndCause, KilledBy, SandboxId, Slot, Timestamp};
use runtime::Usage;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::driver::{Driver, Reply};
use crate::error::chain;
use crate::generation::{Keep, Waking};
use crate::nouns::Purpose;
use crate::record::Refused;
use crate::record::{New, Record};
use crate::shared::{Entry, Request, Shared};
use crate::states::Beginning;
use crate::template::Template;
use crate::{
    Approval, CreateSandbox, Ended, Error, NodeOptions, Observation, Phase, Reach, TemplateBuild, restore,
    warm,
};

/// What becomes of the sandboxes when the node shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandboxes {
    /// They run on; the next server adopts them.
    Leave,
    /// They are killed.
    Kill,
}

/// One node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// Opens the node: reads what is on disk, adopts the sandboxes that run and
    /// begins to remove those that do not. Returns when it is known which are which.
    pub async fn open(options: NodeOptions) -> Result<(Self, Vec<Refused>), crate::OpenError> {
        let (shared, refused) = restore::open(options).await?;
        let handle = Self { shared };
        handle.resume_builds().await.map_err(crate::OpenError::from)?;
        Ok((handle, refused))
    }

    /// Makes a sandbox; returns when its guest answered. Dropping this future
    /// before that kills it.
    pub async fn create(&self, request: CreateSandbox) -> Result<Observation, Error> {
        self.create_approved(request, Approval::given()).await
    }

    /// The same for one whose place is booked, and nothing more, before somebody
    /// approves of it.
    pub async fn create_approved(
        &self,
        request: CreateSandbox,
        approval: Approval,
    ) -> Result<Observation, Error> {
        let (template, from) = self.beginning(&request).await?;
        let began = Instant::now();
        let warm = &self.shared.warm;
        if warm::fits(&request, &template)
            && let Some(state) = warm.of(request.build_id)
        {
            match self.create_from(&request, &template, Some(state), approval.clone()).await {
                Err(Error::Start { step, source, .. }) => {
                    let error = chain(&*source);
                    tracing::warn!(
                        step,
                        error,
                        "a sandbox does not wake from its template's state; it boots"
                    );
                    warm.give_up(request.build_id);
                }
                woken => {
                    if woken.is_ok() {
                        warm.woke(request.build_id, began.elapsed());
                    }
                    return woken;
                }
            }
        }
        let began = Instant::now();
        let made = self.create_from(&request, &template, from, approval).await?;
        self.warm_up(&request, &template, began.elapsed());
        Ok(made)
    }

    async fn create_from(
        &self,
        request: &CreateSandbox,
        template: &Template,
        from: Option<Beginning>,
        approval: Approval,
    ) -> Result<Observation, Error> {
        if self.shared.tasks.leave().is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let (answer, asked) = oneshot::channel();
        self.admit_from(request, template, from, Purpose::Client, (approval, answer))?;
        // The driver drops the sender unanswered only if it is itself dropped.
        asked.await.unwrap_or(Err(Error::ShuttingDown))
    }

    /// Books a sandbox and starts its driver; all of it or nothing.
    pub(crate) fn admit(
        &self,
        request: &CreateSandbox,
        template: &Template,
        purpose: Purpose,
        reply: Reply,
    ) -> Result<(), Error> {
        self.admit_from(request, template, None, purpose, (Approval::given(), reply))
    }

    fn admit_from(
        &self,
        request: &CreateSandbox,
        template: &Template,
        from: Option<Beginning>,
        purpose: Purpose,
        (approval, reply): (Approval, Reply),
    ) -> Result<(), Error> {
        let shared = &self.shared;
        if shared.tasks.leave().is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let id = request.sandbox_id.clone();
        if shared.entry(&id).is_some() {
            return Err(Error::Exists(id));
        }
        if from.is_none() {
            self.has_layers(template)?;
        }
        let slot = shared.ledger().claim(&request.resources).map_err(Error::exhausted)?;
        let layers = from.as_ref().and_then(|from| from.layers.clone());
        let record = self.record(request, template, layers, purpose, slot);
        let observation = shared.first_observation(&record, request.build_id, &id);
        let (entry, inbox) = Entry::new(id, observation, purpose);
        if let Err(e) = shared.enter(&entry) {
            shared.release(&record);
            return Err(e);
        }
        let driver = Driver::new(shared, &entry, record.clone(), inbox);
        restore::spawn(shared, &entry, record, driver.create(from.map(|from| from.state), approval, reply));
        Ok(())
    }

    /// A layer may have been set aside since the build was published.
    fn has_layers(&self, template: &Template) -> Result<(), Error> {
        let dir = self.shared.options.layers_dir();
        match template.layers.iter().find(|layer| !dir.join(layer).is_dir()) {
            Some(layer) => Err(Error::NoLayer { template: template.owner.clone(), layer: layer.clone() }),
            None => Ok(()),
        }
    }

    fn record(
        &self,
        request: &CreateSandbox,
        template: &Template,
        layers: Option<Vec<PathBuf>>,
        purpose: Purpose,
        slot: Slot,
    ) -> Record {
        let options = &self.shared.options;
        let layers_dir = options.layers_dir();
        let layers = layers.unwrap_or_else(|| {
            let below = template.layers.iter().map(|layer| layers_dir.join(layer));
            std::iter::once(options.guest_layer.clone()).chain(below).collect()
        });
        let now = options.clock.now();
        Record::new(New { request, template, purpose, slot, layers, now })
    }

    /// Ends a sandbox; returns when it is gone from view. Whoever else kills it
    /// meanwhile gets the same record. Dropping this future does not stop the kill.
    pub async fn kill(&self, sandbox_id: &SandboxId, by: KilledBy) -> Result<Ended, Error> {
        let entry = self.visible(sandbox_id)?;
        entry.ring_kill(EndCause::Killed(by));
        Ok(entry.wait_gone().await)
    }

    /// Moves the end of a sandbox. One that still starts makes the caller wait.
    pub async fn set_deadline(&self, sandbox_id: &SandboxId, to: Timestamp) -> Result<Observation, Error> {
        self.ask(sandbox_id, |reply| Request::SetDeadline(to, reply)).await
    }

    /// Puts a sandbox to sleep: its files stay, its processes end or are kept too.
    /// If their memory cannot be kept, it goes on as it was. Whoever asks while
    /// another pause is under way or about to be waits for that one; one that sleeps
    /// already is refused. With `demands_answer`, one whose daemon is stuck goes on as
    /// it was. Dropping this future does not stop the pause.
    pub async fn pause(
        &self,
        sandbox_id: &SandboxId,
        keep: Keep,
        demands_answer: bool,
    ) -> Result<Observation, Error> {
        let entry = self.visible(sandbox_id)?;
        let mut observed = entry.observed.subscribe();
        if observed.borrow().phase == Phase::Pausing {
            let done = observed.wait_for(|seen| seen.phase != Phase::Pausing);
            if let Ok(seen) = done.await
                && seen.phase == Phase::Paused
            {
                return Ok(seen.clone());
            }
        }
        let was_running = observed.borrow().phase == Phase::Running;
        match self.ask(sandbox_id, |reply| Request::Pause { keep, demands_answer, reply }).await {
            // It ran when it was asked: another's pause came first, and this one joined it.
            Err(Error::Paused(_)) if was_running => Ok(observed.borrow().clone()),
            answer => answer,
        }
    }

    /// Wakes a sandbox that sleeps, to live this long from then on; returns when
    /// its guest answered. One that runs is left as it is. One on its way makes
    /// the caller wait. A failure leaves it asleep, with all its files.
    pub async fn resume(
        &self,
        sandbox_id: &SandboxId,
        timeout: std::time::Duration,
        waking: Waking,
    ) -> Result<Observation, Error> {
        self.visible(sandbox_id)?;
        self.ask(sandbox_id, |reply| Request::Resume { timeout, waking, reply }).await
    }

    /// What a sandbox uses now.
    pub async fn metrics(&self, sandbox_id: &SandboxId) -> Result<Usage, Error> {
        self.ask(sandbox_id, Request::Usage).await
    }

    /// What the daemon inside and its processes had to tell from a number on,
    /// within `limit`. The answer is a hostile guest's: bounded in size, no more.
    pub async fn logs(
        &self,
        sandbox_id: &SandboxId,
        from: u64,
        limit: std::time::Duration,
    ) -> Result<wire::control::LogPage, Error> {
        let ending = || Error::Ending(sandbox_id.clone());
        let reach = self.dialer(sandbox_id).ok_or_else(ending)?;
        let guest = crate::guest::Guest::new(reach.dial);
        let answer = reach.ended.run_until_cancelled(guest.logs(from, limit)).await.ok_or_else(ending)?;
        let host = |source| Error::Host { sandbox_id: sandbox_id.clone(), what: "reading its log", source };
        answer.map_err(|error| host(error.into()))
    }

    pub(crate) async fn ask<T>(
        &self,
        sandbox_id: &SandboxId,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let entry = self.entry(sandbox_id)?;
        let ending = || Error::Ending(sandbox_id.clone());
        let (reply, asked) = oneshot::channel();
        // A driver on its way out reads no requests: the end answers for it. But
        // an answer that was given counts, whatever came after it.
        tokio::select! {
            biased;
            answer = async {
                entry.requests.send(request(reply)).await.map_err(|_| ending())?;
                asked.await.unwrap_or_else(|_| Err(ending()))
            } => answer,
            () = entry.ended.cancelled() => Err(ending()),
        }
    }

    /// One sandbox, from memory.
    pub fn get(&self, sandbox_id: &SandboxId) -> Option<Observation> {
        Some(self.visible(sandbox_id).ok()?.observed.borrow().clone())
    }

    /// All sandboxes that are not gone, by id, from memory.
    pub fn list(&self) -> Vec<Observation> {
        let sandboxes = self.shared.sandboxes();
        let visible = sandboxes.values().filter(|entry| entry.purpose == Purpose::Client);
        visible.map(|entry| entry.observed.borrow().clone()).collect()
    }

    /// A number that grows with every change of any sandbox or template: a bell
    /// upon which to look again, not a record of what changed.
    pub fn observe(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// How to reach a usable sandbox, from memory.
    pub fn dialer(&self, sandbox_id: &SandboxId) -> Option<Reach> {
        let entry = self.visible(sandbox_id).ok()?;
        let running = entry.observed.borrow().phase == Phase::Running;
        entry.reach().filter(|_| running)
    }

    /// The usable sandbox whose token made this signature, from memory. Looks at
    /// all of them: nothing else in such a URL says which one is meant.
    pub fn signer(&self, url: &wire::files::SignedUrl) -> Option<SandboxId> {
        let sandboxes = self.shared.sandboxes();
        let mut visible = sandboxes.values().filter(|entry| entry.purpose == Purpose::Client);
        let signer = visible.find(|entry| {
            let token = entry.reach().and_then(|reach| reach.token);
            token.is_some_and(|token| url.is_opened_by(&token.0))
        });
        signer.map(|entry| entry.sandbox_id.clone())
    }

    /// The record of a sandbox that ended not too long ago.
    pub fn ended(&self, sandbox_id: &SandboxId) -> Option<Ended> {
        self.shared.ended.get(sandbox_id)
    }

    /// The builds that sandboxes can start from.
    pub fn templates(&self) -> Vec<TemplateBuild> {
        self.shared.templates.list()
    }

    /// The newest build of a template, by id or by one of its built-in names.
    pub fn newest_build(&self, template: &str) -> Option<BuildId> {
        self.shared.templates.newest(template)?.build_id.parse().ok()
    }

    /// What was promised to the sandboxes that stand.
    pub fn promised(&self) -> model::admission::Promised {
        self.shared.ledger().promised()
    }

    /// Takes no more creates, lets what is under way come to its end within the
    /// limit of the options, and leaves or kills the rest. Safe twice.
    pub async fn shutdown(&self, sandboxes: Sandboxes) {
        self.shared.shelf.close();
        self.shared.tasks.leave().cancel();
        if sandboxes == Sandboxes::Kill {
            for entry in self.shared.sandboxes().values() {
                entry.ring_kill(EndCause::Killed(KilledBy::Operator));
            }
        }
        let limit = self.shared.options.limits.shutdown;
        if tokio::time::timeout(limit, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("some sandboxes were on their way up or down; the next start finishes that");
            self.abandon().await;
            return;
        }
        let options = self.shared.options.clone();
        crate::disk::blocking(move || crate::build::verify::leave(&options)).await;
    }

    /// Drops everything where it stands, as a kill of the server would. The
    /// next start mends what was half-done.
    pub async fn abandon(&self) {
        self.shared.shelf.close();
        let shared = Arc::clone(&self.shared);
        crate::disk::blocking(move || shared.shelf.seal()).await;
        self.shared.tasks.abandon();
        self.shared.tasks.wait().await;
    }

    /// A client's sandbox.
    pub(crate) fn visible(&self, sandbox_id: &SandboxId) -> Result<Arc<Entry>, Error> {
        let entry = self.entry(sandbox_id)?;
        if entry.purpose == Purpose::Client { Ok(entry) } else { Err(Error::NotFound(sandbox_id.clone())) }
    }

    fn entry(&self, sandbox_id: &SandboxId) -> Result<Arc<Entry>, Error> {
        self.shared.entry(sandbox_id).ok_or_else(|| Error::NotFound(sandbox_id.clone()))
    }
}

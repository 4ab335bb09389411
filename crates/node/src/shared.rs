//! What the handle and the drivers of one node share. Only a sandbox's driver
//! writes to its entry; the handle reads, and rings bells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{BuildId, EndCause, SandboxId, Slot};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::build::{Cache, Jobs};
use crate::ended::EndedRecords;
use crate::generation::{Checkpoint, Keep, Shelf, Waking};
use crate::ledger::Ledger;
use crate::nouns::Purpose;
use crate::record::Record;
use crate::spares::Spares;
use crate::tasks::Tasks;
use crate::template::Templates;
use crate::warm::Warm;
use crate::{Ended, Error, NodeOptions, Observation, Phase, Reach};

/// Requests that wait for a driver; more make their callers wait.
const REQUESTS: usize = 16;

/// Comparisons of states at a time: each may keep a quarter of a million names in
/// memory, and reads as fast as the disk can.
const COMPARISONS: usize = 2;

/// A request to a driver. Kills do not queue here: they are a level in the entry.
#[derive(Debug)]
pub(crate) enum Request {
    /// Move the end.
    SetDeadline(model::Timestamp, oneshot::Sender<Result<Observation, Error>>),
    /// Read what it uses.
    Usage(oneshot::Sender<Result<runtime::Usage, Error>>),
    /// Put it to sleep, its files kept; with `demands_answer` only if its daemon answers.
    Pause { keep: Keep, demands_answer: bool, reply: oneshot::Sender<Result<Observation, Error>> },
    /// Wake it, to live this long; one that runs is left as it is.
    Resume { timeout: Duration, waking: Waking, reply: oneshot::Sender<Result<Observation, Error>> },
    /// Write its state down; it goes on.
    Checkpoint { keep: Keep, turn: Turn, reply: oneshot::Sender<Result<Checkpoint, Error>> },
    /// Go back to a state of it that was written down, and live on from there.
    Rollback { to: Checkpoint, timeout: Duration, reply: oneshot::Sender<Result<Observation, Error>> },
    /// End it, and make what it wrote a layer of this name.
    Seal(PathBuf, oneshot::Sender<Result<(), Error>>),
}

/// One sandbox, as everybody but its driver sees it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) sandbox_id: SandboxId,
    pub(crate) observed: watch::Sender<Observation>,
    /// Set once: somebody wants it gone. Pre-empts everything.
    pub(crate) kill: watch::Sender<Option<EndCause>>,
    /// Set once: it is gone from view.
    pub(crate) gone: watch::Sender<Option<Ended>>,
    pub(crate) requests: mpsc::Sender<Request>,
    /// How to reach it, while it runs.
    reach: Mutex<Option<Reach>>,
    /// Cancelled with its end.
    pub(crate) ended: CancellationToken,
    /// What it is for; only a client's is shown to others.
    pub(crate) purpose: Purpose,
    /// Whether a checkpoint of it is asked for or under way.
    has_turn: AtomicBool,
}

/// The one checkpoint of a sandbox that may be under way. Given back by being dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Entry>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.has_turn.store(false, Ordering::Release);
    }
}

impl Entry {
    pub(crate) fn new(
        sandbox_id: SandboxId,
        observation: Observation,
        purpose: Purpose,
    ) -> (Arc<Self>, mpsc::Receiver<Request>) {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let entry = Self {
            sandbox_id,
            observed: watch::Sender::new(observation),
            kill: watch::Sender::new(None),
            gone: watch::Sender::new(None),
            requests,
            reach: Mutex::default(),
            ended: CancellationToken::new(),
            purpose,
            has_turn: AtomicBool::new(false),
        };
        (Arc::new(entry), inbox)
    }

    /// Lets a checkpoint begin, unless another one is asked for or under way.
    pub(crate) fn take_turn(self: &Arc<Self>) -> Option<Turn> {
        let is_free = !self.has_turn.swap(true, Ordering::AcqRel);
        is_free.then(|| Turn(Arc::clone(self)))
    }

    /// How to reach it, while it runs.
    pub(crate) fn reach(&self) -> Option<Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets others reach it, or takes that back.
    pub(crate) fn set_reach(&self, reach: Option<Reach>) {
        let before =
            std::mem::replace(&mut *self.reach.lock().unwrap_or_else(PoisonError::into_inner), reach);
        if let Some(before) = before {
            before.ended.cancel();
        }
    }

    /// Asks for its end; the first cause stays.
    pub(crate) fn ring_kill(&self, cause: EndCause) {
        self.kill.send_if_modified(|wanted| wanted.is_none() && wanted.replace(cause).is_none());
    }

    /// Waits until it is gone from view.
    pub(crate) async fn wait_gone(&self) -> Ended {
        let mut gone = self.gone.subscribe();
        let ended = gone.wait_for(Option::is_some).await.map(|ended| ended.clone());
        match ended {
            Ok(Some(ended)) => ended,
            // The sender lives in `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

/// The node.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: NodeOptions,
    pub(crate) templates: Templates,
    pub(crate) ended: EndedRecords,
    /// States of sandboxes that were written down.
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) spares: Spares,
    pub(crate) tasks: Tasks,
    pub(crate) changes: watch::Sender<u64>,
    /// Held by the build of a recipe.
    pub(crate) building: tokio::sync::Mutex<()>,
    /// Held by a look at all layers.
    pub(crate) verifying: tokio::sync::Mutex<()>,
    /// Builds that clients ordered.
    pub(crate) jobs: Jobs,
    /// States that creates of builds begin with.
    pub(crate) warm: Warm,
    /// Layers of steps that were done.
    pub(crate) cache: Arc<Cache>,
    /// Comparisons of states that may read at a time; more wait.
    pub(crate) comparing: tokio::sync::Semaphore,
    ledger: Mutex<Ledger>,
    sandboxes: Mutex<BTreeMap<SandboxId, Arc<Entry>>>,
    /// Ids out of view whose directories still stand: nobody else may have them.
    blocked: Mutex<BTreeSet<SandboxId>>,
}

impl Shared {
    pub(crate) fn new(
        options: NodeOptions,
        templates: Templates,
        cache: Cache,
        ended: EndedRecords,
        shelf: Arc<Shelf>,
        spares: Spares,
    ) -> Self {
        let ledger = Ledger::new(options.capacity, options.overcommit);
        Self {
            shelf,
            spares,
            templates,
            ended,
            tasks: Tasks::default(),
            changes: watch::Sender::new(0),
            building: tokio::sync::Mutex::default(),
            verifying: tokio::sync::Mutex::default(),
            jobs: Jobs::new(options.limits.builds),
            warm: Warm::default(),
            cache: Arc::new(cache),
            comparing: tokio::sync::Semaphore::new(COMPARISONS),
            options,
            ledger: Mutex::new(ledger),
            sandboxes: Mutex::default(),
            blocked: Mutex::default(),
        }
    }

    /// The next generation: unique in this process, and a bell for observers.
    pub(crate) fn next_generation(&self) -> u64 {
        let mut next = 0;
        self.changes.send_modify(|generation| {
            *generation += 1;
            next = *generation;
        });
        next
    }

    /// Changes what is seen of a sandbox, and rings.
    pub(crate) fn publish(&self, entry: &Entry, change: impl FnOnce(&mut Observation)) {
        let mut generation = 0;
        entry.observed.send_modify(|observation| {
            change(observation);
            generation = self.next_generation();
            observation.generation = generation;
        });
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn sandboxes(&self) -> MutexGuard<'_, BTreeMap<SandboxId, Arc<Entry>>> {
        self.sandboxes.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn entry(&self, sandbox_id: &SandboxId) -> Option<Arc<Entry>> {
        self.sandboxes().get(sandbox_id).cloned()
    }

    /// Ids that may not be used, though no sandbox of that name is in view.
    pub(crate) fn blocked(&self) -> MutexGuard<'_, BTreeSet<SandboxId>> {
        self.blocked.lock().expect("no holder of this lock panics")
    }

    /// Enters a sandbox; refused if the id is taken.
    pub(crate) fn enter(&self, entry: &Arc<Entry>) -> Result<(), Error> {
        {
            let mut sandboxes = self.sandboxes();
            if sandboxes.contains_key(&entry.sandbox_id) || self.blocked().contains(&entry.sandbox_id) {
                return Err(Error::Exists(entry.sandbox_id.clone()));
            }
            sandboxes.insert(entry.sandbox_id.clone(), Arc::clone(entry));
        }
        self.next_generation();
        Ok(())
    }

    /// Takes a sandbox out of view and tells everybody who waits for that.
    pub(crate) fn leave_view(&self, entry: &Entry, ended: Ended) {
        entry.ended.cancel();
        self.sandboxes().remove(&entry.sandbox_id);
        entry.gone.send_replace(Some(ended));
        self.next_generation();
    }

    /// Gives back what a sandbox held; one that is paused holds nothing.
    pub(crate) fn release(&self, record: &Record) {
        if record.is_parked() {
            return;
        }
        self.ledger().release(Slot(record.slot), &record.resources());
    }

    /// What is seen of a sandbox at first.
    pub(crate) fn first_observation(
        &self,
        record: &Record,
        build_id: BuildId,
        id: &SandboxId,
    ) -> Observation {
        Observation {
            sandbox_id: id.clone(),
            phase: Phase::Starting,
            started_at: record.started_at().unwrap_or(record.created_at()),
            deadline: record.shown_deadline(),
            timeout: record.timeout(),
            policy: record.policy(),
            keeps_memory: record.keeps_memory(),
            unresponsive_at_pause: record.was_unresponsive(),
            is_snapshotting: false,
            isolation: self.options.backend.isolation(),
            build_id,
            envd_version: record.envd_version.clone(),
            generation: 0,
        }
    }
}

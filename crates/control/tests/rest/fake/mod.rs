//! A node without sandboxes: it keeps what it is told and fails on demand.

mod builds;
mod port;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use model::{BuildId, ByteSize, EndCause, Isolation, Peaks, SandboxId};
use node::{CreateSandbox, DiffRequest, Ended, Error, Observation, Phase, Waking};
use tokio::sync::watch;
use warren_control::{Clock, NodePort as _};

use self::builds::FakeBuilds;

/// What becomes of creates.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Creates {
    #[default]
    Done,
    Hang,
    /// Those that hung fail.
    Refused,
}

#[derive(Debug, Default)]
struct State {
    live: HashMap<SandboxId, Observation>,
    ended: HashMap<SandboxId, Ended>,
    orders: Vec<CreateSandbox>,
    create_errors: Vec<Error>,
    creates: Creates,
    logs: HashMap<SandboxId, Vec<wire::control::LogEntry>>,
    told_then: Option<usize>,
    has_memory: bool,
    is_stuck: bool,
    drowsy: Vec<SandboxId>,
    wakings: Vec<Waking>,
    checkpoints: u128,
    kept: Vec<BuildId>,
    differences: Vec<node::Difference>,
    compared: Vec<DiffRequest>,
}

#[derive(Debug)]
pub(crate) struct FakeNode {
    clock: Clock,
    state: Mutex<State>,
    pub(crate) builds: FakeBuilds,
    changes: watch::Sender<u64>,
    kills: watch::Sender<u64>,
}

impl FakeNode {
    pub(crate) fn new(clock: Clock) -> Self {
        let (state, builds) = (Mutex::default(), FakeBuilds::default());
        Self { clock, state, builds, changes: watch::Sender::new(0), kills: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// All states differ so from each other.
    pub(crate) fn differ(&self, differences: Vec<node::Difference>) {
        self.state().differences = differences;
    }

    /// The pages that were asked for.
    pub(crate) fn compared(&self) -> Vec<DiffRequest> {
        self.state().compared.clone()
    }

    /// The next create fails so.
    pub(crate) fn fail_create(&self, error: Error) {
        self.state().create_errors.push(error);
    }

    /// Creates take for ever, with the sandbox half up.
    /// How many creates were begun.
    pub(crate) fn created(&self) -> usize {
        self.state().orders.len()
    }

    /// How many states were written down.
    pub(crate) fn checkpoints(&self) -> u128 {
        self.state().checkpoints
    }

    pub(crate) fn hang_creates(&self) {
        self.state().creates = Creates::Hang;
    }

    /// What hangs is answered as by a node that goes down.
    pub(crate) fn let_creates_fail(&self) {
        self.state().creates = Creates::Refused;
        self.changed();
    }

    /// What hangs becomes usable.
    pub(crate) fn let_creates_go_on(&self) {
        self.state().creates = Creates::Done;
        self.changed();
    }

    /// Memory can be kept from now on.
    pub(crate) fn give_memory(&self) {
        self.state().has_memory = true;
    }

    /// No daemon answers, or all do.
    pub(crate) fn stick(&self, is_stuck: bool) {
        self.state().is_stuck = is_stuck;
    }

    /// Whoever moves its deadline next comes too late: the sandbox sleeps.
    pub(crate) fn doze(&self, id: &SandboxId) {
        self.state().drowsy.push(id.clone());
    }

    /// How the last sandbox was woken.
    pub(crate) fn last_waking(&self) -> Waking {
        *self.state().wakings.last().unwrap()
    }

    /// A snapshot that no row names.
    pub(crate) fn plant_snapshot(&self, build: BuildId) {
        self.state().kept.push(build);
        self.changed();
    }

    /// Daemons that are rolled back have told so much by then.
    pub(crate) fn roll_journals_back_to(&self, told: usize) {
        self.state().told_then = Some(told);
    }

    /// The daemon in a sandbox has something to tell.
    pub(crate) fn tell(&self, id: &SandboxId, level: wire::control::LogLevel, message: &str) {
        let at_micros = u64::try_from(self.clock.now().unix_micros()).unwrap();
        let mut state = self.state();
        let entries = state.logs.entry(id.clone()).or_default();
        entries.push(wire::control::LogEntry {
            number: entries.len() as u64,
            at_micros,
            level,
            logger: "process".to_owned(),
            message: message.to_owned(),
            fields: [("pid".to_owned(), "7".to_owned())].into(),
        });
    }

    pub(crate) fn last_order(&self) -> CreateSandbox {
        self.state().orders.last().unwrap().clone()
    }

    pub(crate) fn set_phase(&self, id: &SandboxId, phase: Phase) {
        self.state().live.get_mut(id).unwrap().phase = phase;
        self.changed();
    }

    pub(crate) fn set_snapshotting(&self, id: &SandboxId, whether: bool) {
        self.state().live.get_mut(id).unwrap().is_snapshotting = whether;
        self.changed();
    }

    /// Completes once the node was asked to create something, and began.
    pub(crate) async fn asked_to_create(&self) {
        self.observe().wait_for(|_| !self.state().live.is_empty()).await.unwrap();
    }

    /// Completes once the node was asked to kill something.
    pub(crate) async fn asked_to_kill(&self) {
        self.kills.subscribe().wait_for(|n| *n > 0).await.unwrap();
    }

    pub(crate) fn ids(&self) -> Vec<SandboxId> {
        self.state().live.keys().cloned().collect()
    }

    /// Puts a sandbox there that nobody asked for.
    pub(crate) fn plant(&self, id: &SandboxId) {
        let observation = self.observation(id.clone(), model::BuildId::from_u128(1), Duration::from_mins(5));
        self.state().live.insert(id.clone(), observation);
        self.changed();
    }

    /// Ends it as the driver would; without a record if there is no cause.
    pub(crate) fn end(&self, id: &SandboxId, cause: Option<EndCause>) {
        let mut state = self.state();
        let seen = state.live.remove(id).unwrap();
        if let Some(cause) = cause {
            state.ended.insert(id.clone(), self.record(&seen, cause));
        }
        drop(state);
        self.changed();
    }

    /// Ends everything that runs and whose time is up.
    pub(crate) fn expire(&self) {
        let now = self.clock.now();
        let is_due = |seen: &&Observation| seen.deadline <= now && seen.phase != Phase::Paused;
        let due: Vec<SandboxId> =
            self.state().live.values().filter(is_due).map(|o| o.sandbox_id.clone()).collect();
        for id in due {
            self.end(&id, Some(EndCause::Timeout));
        }
    }

    fn record(&self, seen: &Observation, cause: EndCause) -> Ended {
        Ended {
            sandbox_id: seen.sandbox_id.clone(),
            cause,
            started_at: Some(seen.started_at),
            ended_at: self.clock.now(),
            peaks: Peaks { memory: ByteSize::mib(7), ..Peaks::default() },
            oom_victims: Vec::new(),
        }
    }

    fn observation(&self, id: SandboxId, build_id: model::BuildId, timeout: Duration) -> Observation {
        let now = self.clock.now();
        Observation {
            sandbox_id: id,
            phase: Phase::Running,
            started_at: now,
            deadline: now + timeout,
            timeout,
            policy: model::Policy::default(),
            keeps_memory: false,
            unresponsive_at_pause: false,
            is_snapshotting: false,
            isolation: Isolation::Sim,
            build_id,
            envd_version: "0.6.4".to_owned(),
            generation: 1,
        }
    }
}

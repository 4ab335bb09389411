//! A node without sandboxes: it keeps what it is told and fails on demand.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use model::{
    BuildId, ByteSize, EndCause, Isolation, KilledBy, Peaks, SandboxId, TeamId, TemplateId, Timestamp,
};
use node::build::{
    BuildFailure, BuildOrder, BuildProgress, CacheEntry, CachedStep, Collected, Damaged, FilesHash, LogEntry,
    LogLevel, LogPage, UploadError, Verified,
};
use node::{
    Approval, Checkpoint, Connection, CreateSandbox, DialError, DiffPage, DiffRequest, Ended, Error, Host,
    Keep, Observation, Phase, Room, TemplateBuild, Waking,
};
use tokio::sync::watch;
use warren_control::{BoxFuture, BuildPort, Clock, NodePort, Upload, Usage};

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

impl NodePort for FakeNode {
    fn create(
        &self,
        order: CreateSandbox,
        mut approval: Approval,
    ) -> BoxFuture<'_, Result<Observation, Error>> {
        Box::pin(async move {
            let error = self.state().create_errors.pop();
            if let Some(error) = error {
                return Err(error);
            }
            if !approval.is_given().await {
                return Err(Error::Withdrawn(order.sandbox_id));
            }
            let mut observation = self.observation(order.sandbox_id.clone(), order.build_id, order.timeout);
            observation.policy = order.policy;
            self.state().orders.push(order);
            self.state().live.insert(observation.sandbox_id.clone(), observation.clone());
            self.changed();
            if self.state().creates == Creates::Hang {
                self.set_phase(&observation.sandbox_id, Phase::Starting);
                let mut changes = self.observe();
                let _: Result<_, _> = changes.wait_for(|_| self.state().creates != Creates::Hang).await;
                if self.state().creates == Creates::Refused {
                    return Err(Error::ShuttingDown);
                }
                self.set_phase(&observation.sandbox_id, Phase::Running);
            }
            Ok(observation)
        })
    }

    fn kill<'a>(&'a self, id: &'a SandboxId, by: KilledBy) -> BoxFuture<'a, Result<Ended, Error>> {
        Box::pin(async move {
            self.kills.send_modify(|n| *n += 1);
            let phase = self.state().live.get(id).map(|seen| seen.phase);
            match phase {
                None => Err(Error::NotFound(id.clone())),
                Some(Phase::Ending) => Err(Error::Ending(id.clone())),
                Some(_) => {
                    self.end(id, Some(EndCause::Killed(by)));
                    Ok(self.state().ended[id].clone())
                }
            }
        })
    }

    fn set_deadline<'a>(
        &'a self,
        id: &'a SandboxId,
        deadline: Timestamp,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            let mut state = self.state();
            let falls_asleep = state.drowsy.pop_if(|drowsy| *drowsy == *id).is_some();
            let seen = state.live.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            if falls_asleep {
                seen.phase = Phase::Paused;
                return Err(Error::Paused(id.clone()));
            }
            seen.deadline = deadline;
            seen.generation += 1;
            Ok(seen.clone())
        })
    }

    fn memory_checkpoints(&self) -> Result<(), String> {
        if self.state().has_memory { Ok(()) } else { Err("a fake has none".to_owned()) }
    }

    fn pause<'a>(
        &'a self,
        id: &'a SandboxId,
        keep: Keep,
        demands_answer: bool,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            let is_stuck = self.state().is_stuck;
            if demands_answer && is_stuck {
                return Err(Error::Unresponsive(id.clone()));
            }
            self.set_phase(id, Phase::Paused);
            let mut state = self.state();
            let seen = state.live.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            seen.keeps_memory = keep == Keep::Memory;
            seen.unresponsive_at_pause = is_stuck;
            seen.deadline = self.clock.now();
            Ok(seen.clone())
        })
    }

    fn resume<'a>(
        &'a self,
        id: &'a SandboxId,
        timeout: Duration,
        waking: Waking,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut state = self.state();
            state.wakings.push(waking);
            let seen = state.live.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            if seen.unresponsive_at_pause && waking == Waking::Kept {
                return Err(Error::WasUnresponsive(id.clone()));
            }
            if seen.phase == Phase::Paused {
                (seen.phase, seen.keeps_memory) = (Phase::Running, false);
                seen.unresponsive_at_pause = false;
                (seen.started_at, seen.deadline) = (now, now + timeout);
            }
            Ok(seen.clone())
        })
    }

    fn checkpoint<'a>(&'a self, id: &'a SandboxId, keep: Keep) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(async move {
            let seen = self.get(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            let mut state = self.state();
            state.checkpoints += 1;
            assert_eq!(seen.phase, Phase::Running);
            Ok(Checkpoint {
                generation: model::GenerationId::from_u128(state.checkpoints),
                keep,
                size: ByteSize::mib(3),
                frozen: Duration::from_millis(1),
                hold: node::Hold::default(),
            })
        })
    }

    fn keep_checkpoint<'a>(
        &'a self,
        _: &'a Checkpoint,
        _: &'a TemplateId,
        build: BuildId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.state().kept.push(build);
        Box::pin(std::future::ready(Ok(())))
    }

    fn rollback<'a>(
        &'a self,
        id: &'a SandboxId,
        build: BuildId,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut state = self.state();
            if !state.kept.contains(&build) {
                return Err(Error::UnknownBuild(build));
            }
            let seen = state.live.get_mut(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            (seen.phase, seen.started_at, seen.deadline) = (Phase::Running, now, now + timeout);
            let seen = seen.clone();
            if let (Some(then), Some(told)) = (state.told_then, state.logs.get_mut(id)) {
                told.truncate(then);
            }
            Ok(seen)
        })
    }

    fn diff(&self, from: BuildId, to: BuildId, page: DiffRequest) -> BoxFuture<'_, Result<DiffPage, Error>> {
        Box::pin(async move {
            let missing = [from, to].into_iter().find(|build| !self.state().kept.contains(build));
            if let Some(build) = missing {
                return Err(Error::UnknownBuild(build));
            }
            self.state().compared.push(page.clone());
            let mut found = self.state().differences.clone();
            found.retain(|one| page.after.as_ref().is_none_or(|after| one.path > *after));
            let more = found.len() > page.limit;
            found.truncate(page.limit);
            let next = found.last().filter(|_| more).map(|last| last.path.clone());
            Ok(DiffPage { differences: found, next })
        })
    }

    fn get(&self, id: &SandboxId) -> Option<Observation> {
        self.state().live.get(id).cloned()
    }

    fn list(&self) -> Vec<Observation> {
        self.state().live.values().cloned().collect()
    }

    fn observe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn ended(&self, id: &SandboxId) -> Option<Ended> {
        self.state().ended.get(id).cloned()
    }

    fn usage<'a>(&'a self, id: &'a SandboxId) -> BoxFuture<'a, Result<Usage, Error>> {
        Box::pin(async move {
            let seen = self.get(id).ok_or_else(|| Error::NotFound(id.clone()))?;
            // Half of one processor, always.
            let cpu = self.clock.now().since(seen.started_at) / 2;
            Ok(Usage {
                cpu_micros: u64::try_from(cpu.as_micros()).unwrap(),
                memory: ByteSize::mib(20),
                memory_cache: ByteSize::mib(5),
                disk: ByteSize::mib(1),
            })
        })
    }

    /// Nothing listens in what does not exist.
    fn dial<'a>(
        &'a self,
        id: &'a SandboxId,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn Connection>, DialError>> {
        let gone = self.get(id).is_none();
        Box::pin(async move { Err(if gone { DialError::Gone } else { DialError::Refused(port) }) })
    }

    fn logs<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        from: u64,
        _limit: Duration,
    ) -> BoxFuture<'a, Result<wire::control::LogPage, Error>> {
        Box::pin(async move {
            let state = self.state();
            let entries = state.logs.get(sandbox).cloned().unwrap_or_default();
            let next = entries.len() as u64;
            let wanted = entries.into_iter().filter(|entry| entry.number >= from).collect::<Vec<_>>();
            Ok(wire::control::LogPage { epoch: 1, next, entries: wanted })
        })
    }

    /// The snapshots alone.
    fn templates(&self) -> Vec<TemplateBuild> {
        let forgotten = self.builds.forgotten.lock().unwrap();
        let state = self.state();
        let kept = state.kept.iter().filter(|build| !forgotten.contains(build));
        let shown = |build: &BuildId| TemplateBuild {
            template_id: "snapshotsnapshotsnap".parse().unwrap(),
            build_id: *build,
            aliases: Vec::new(),
            client: true,
            snapshot: true,
            resources: model::Resources::DEFAULT,
            envd_version: "0.6.4".to_owned(),
            created_at: self.clock.now(),
        };
        kept.map(shown).collect()
    }

    fn room(&self) -> BoxFuture<'_, std::io::Result<Room>> {
        use model::admission::{Capacity, Overcommit, Promised};
        let slots = u32::try_from(self.state().live.len()).unwrap();
        let room = Room {
            capacity: Capacity { memory: ByteSize::gib(8), disk: ByteSize::gib(80), slots: 100 },
            overcommit: Overcommit { memory_percent: 400, disk_percent: 100 },
            promised: Promised {
                memory: ByteSize::mib(u64::from(slots) * 1024),
                slots,
                ..Promised::default()
            },
            promised_cpus: 2 * slots,
            memory_available: ByteSize::gib(6),
            disk_free: ByteSize::gib(70),
            builds_active: 1,
            builds_waiting: 2,
        };
        Box::pin(std::future::ready(Ok(room)))
    }

    fn host(&self) -> BoxFuture<'_, std::io::Result<Host>> {
        let text = |text: &str| text.to_owned();
        let disk = node::Disk {
            mount_point: text("/state"),
            device: text("/dev/x"),
            kind: text("btrfs"),
            total: ByteSize::gib(80),
            used: ByteSize::gib(10),
        };
        let host = Host {
            architecture: "x86_64",
            cpu_family: text("6"),
            cpu_model: text("1"),
            cpu_name: text("a fast one"),
            cpu_count: 4,
            cpu_percent: 50,
            disk,
        };
        Box::pin(std::future::ready(Ok(host)))
    }

    fn builds(&self) -> &dyn BuildPort {
        &self.builds
    }
}

/// What builds templates: nothing is built, the tests say how builds end.
#[derive(Debug, Default)]
pub(crate) struct FakeBuilds {
    orders: Mutex<Vec<BuildOrder>>,
    progress: Mutex<HashMap<BuildId, BuildProgress>>,
    files: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) forgotten: Mutex<Vec<BuildId>>,
}

impl FakeBuilds {
    pub(crate) fn last_order(&self) -> BuildOrder {
        self.orders.lock().unwrap().last().unwrap().clone()
    }

    /// The build of the last order ends so.
    pub(crate) fn end(&self, progress: BuildProgress) {
        let build = self.last_order().build_id;
        self.progress.lock().unwrap().insert(build, progress);
    }

    /// The node forgets everything.
    pub(crate) fn lose(&self) {
        self.progress.lock().unwrap().clear();
    }
}

impl BuildPort for FakeBuilds {
    fn start(&self, order: BuildOrder) -> BoxFuture<'_, Result<(), Error>> {
        self.progress.lock().unwrap().insert(order.build_id, BuildProgress::Building);
        self.orders.lock().unwrap().push(order);
        Box::pin(std::future::ready(Ok(())))
    }

    fn progress(&self, build: BuildId) -> BoxFuture<'_, Option<BuildProgress>> {
        Box::pin(std::future::ready(self.progress.lock().unwrap().get(&build).cloned()))
    }

    /// 150 lines, every tenth a warning of step 1.
    fn log(&self, _: BuildId, page: LogPage) -> BoxFuture<'_, Result<Vec<LogEntry>, Error>> {
        let entry = |n: i64| LogEntry {
            at: 1_795_255_200_000_000 + n,
            level: if n % 10 == 0 { LogLevel::Warn } else { LogLevel::Info },
            message: format!("line {n}"),
            step: Some("1".to_owned()),
        };
        let all = (0..150).map(entry).filter(|entry| entry.level >= page.level);
        let entries = all.skip(page.offset).take(page.limit).collect();
        Box::pin(std::future::ready(Ok(entries)))
    }

    fn forget(&self, build: BuildId) -> BoxFuture<'_, Result<(), Error>> {
        self.forgotten.lock().unwrap().push(build);
        Box::pin(std::future::ready(Ok(())))
    }

    fn cancel(&self, build: BuildId) -> bool {
        let failure = BuildFailure { step: String::new(), message: "The build was canceled".to_owned() };
        self.progress.lock().unwrap().insert(build, BuildProgress::Failed(failure)).is_some()
    }

    fn steps(&self, team: TeamId) -> BoxFuture<'_, Result<Vec<CachedStep>, Error>> {
        let entry = CacheEntry {
            key: "k1".to_owned(),
            layer: "l1".to_owned(),
            team_id: team.to_string(),
            title: "RUN ls".to_owned(),
            made_at: 1_795_255_200_000_000,
            used_at: 1_795_255_201_000_000,
            on: None,
        };
        let step = CachedStep { entry, size: ByteSize::mib(1), in_use: true };
        Box::pin(std::future::ready(Ok(vec![step])))
    }

    fn forget_step<'a>(&'a self, _: TeamId, key: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(std::future::ready(Ok(key == "k1")))
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, Error>> {
        let damaged = vec![Damaged { layer: "l1".to_owned(), why: "it is missing".to_owned() }];
        Box::pin(std::future::ready(Ok(Verified { layers: 4, size: ByteSize::mib(5), damaged })))
    }

    fn collect(&self, _: TeamId, unused_for: Duration) -> BoxFuture<'_, Result<Collected, Error>> {
        let layers = usize::try_from(unused_for.as_secs() / 3600).unwrap();
        Box::pin(std::future::ready(Ok(Collected { layers, size: ByteSize::mib(3), removing: layers + 1 })))
    }

    fn has_files<'a>(&'a self, _: TeamId, hash: &'a FilesHash) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(self.files.lock().unwrap().contains_key(hash.as_str())))
    }

    fn receive_files<'a>(
        &'a self,
        _: TeamId,
        hash: &'a FilesHash,
        expected: Option<u64>,
        content: Upload,
    ) -> BoxFuture<'a, Result<(), UploadError>> {
        Box::pin(async move {
            let pieces: Vec<_> = content.try_collect().await.map_err(UploadError::Broken)?;
            let bytes = pieces.concat();
            let got = bytes.len() as u64;
            if let Some(expected) = expected.filter(|expected| *expected != got) {
                return Err(UploadError::Short { got, expected });
            }
            self.files.lock().unwrap().insert(hash.as_str().to_owned(), bytes);
            Ok(())
        })
    }
}

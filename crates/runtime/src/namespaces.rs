//! Machines made of Linux namespaces, control groups and a system call filter:
//! one kernel shared with the host, needs root.
//!
//! A start: the server makes the cgroups (`reserve`) and the writable layer
//! (`prepare`); in `boot` the [`Launcher`] clones a process into new namespaces,
//! the server maps its ids, hands it shifted mounts of its layers, moves it into
//! its cgroups and plugs its network, while the newborn builds its own root; then
//! the newborn locks itself in and becomes the first process. Nothing is kept in
//! memory that adoption after a restart does not find again on the host.

mod boot;
mod cgroup;
mod checkpoint;
mod child;
mod criu;
mod dial;
mod filter;
mod idmap;
mod launcher;
mod line;
mod machine;
mod message;
mod orders;
mod precopy;
mod probe;
mod restore;
mod shown;
mod turns;
mod unanswered;
mod unwritten;
mod workshop;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use model::{ByteSize, Isolation};
use rustix::process::Pid;
use tokio_util::task::TaskTracker;

use crate::checkpoint::Target;
use crate::network::Network;
use crate::storage::{Storage, WritableLayer};
use crate::trees::Trees;
use crate::{Backend, BoxFuture, CheckpointTo, Checkpointed, Error, ErrorKind, Machine, MachineSpec, Then};
use cgroup::Cgroups;
use dial::{Controls, Sockets};
use turns::Turns;

pub use cgroup::Error as CgroupError;
pub use criu::Criu;
pub use launcher::Launcher;
pub use probe::{Finding, probe};

/// How machines are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the subtree of control groups. Two servers on one host need different ones.
    pub cgroup_name: String,
    /// First user id outside; each slot has the next 65,536.
    pub first_user_id: u32,
    /// What writes memory down, tried; or why there is none.
    pub criu: Result<Criu, String>,
    /// Whether large memories are written in rounds, where that is possible.
    pub rounds: bool,
}

impl Default for Options {
    fn default() -> Self {
        let criu = Err("none was looked for".to_owned());
        Self { cgroup_name: "warren".to_owned(), first_user_id: 1_000_000, criu, rounds: true }
    }
}

/// The backend.
#[derive(Debug)]
pub struct Namespaces {
    host: Arc<Host>,
}

/// What all machines of the backend share.
#[derive(Debug)]
struct Host {
    options: Options,
    launcher: Launcher,
    cgroups: Cgroups,
    storage: Arc<Storage>,
    network: Arc<Network>,
    sockets: Sockets,
    controls: Controls,
    /// One task for each machine waits for its end.
    tasks: TaskTracker,
    /// A step that makes or removes something of a sandbox has its turn.
    turns: Arc<Turns>,
    /// Whether this kernel tells which pages were written.
    tracks_pages: bool,
    /// Why checkpoints turned out to have no memory, although the tool is there.
    disproved: Mutex<Option<String>>,
}

impl Host {
    fn criu(&self) -> Result<&Criu, StepError> {
        self.options.criu.as_ref().map_err(|reason| checkpoint::no_memory(reason))
    }
}

impl Namespaces {
    /// Opens the backend. The launcher was started before the first thread.
    pub fn open(
        mut options: Options,
        launcher: Launcher,
        storage: Arc<Storage>,
        network: Arc<Network>,
    ) -> Result<Self, OpenError> {
        let cgroups = Cgroups::open(&options.cgroup_name)?;
        tracing::info!(
            cgroups = cgroups.describe(),
            cpus = cgroups.cpu_count(),
            "namespaces backend is open"
        );
        options.criu = options.criu.and_then(|tool| checkpoint::check(&launcher, &tool).map(|()| tool));
        let tool = options.criu.as_ref().ok().filter(|_| options.rounds);
        let tracks_pages = tool.is_some_and(|tool| checkpoint::tracks_pages(&launcher, tool));
        let sockets = Sockets::start().map_err(OpenError::Sockets)?;
        let tasks = TaskTracker::new();
        Ok(Self {
            host: Arc::new(Host {
                options,
                launcher,
                cgroups,
                storage,
                network,
                sockets,
                controls: Controls::default(),
                tasks,
                turns: Arc::default(),
                tracks_pages,
                disproved: Mutex::default(),
            }),
        })
    }

    /// What a trial said of checkpoints with memory; until then the tool's version does.
    pub fn judge_memory(&self, verdict: Result<(), String>) {
        *self.host.disproved.lock().unwrap_or_else(PoisonError::into_inner) = verdict.err();
    }

    /// Runs a step that blocks where it may, and names it if it fails.
    async fn step<T, E, F>(&self, spec: &MachineSpec, step: &'static str, run: F) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Into<StepError> + Send + 'static,
        F: FnOnce(&Host, &MachineSpec) -> Result<T, E> + Send + 'static,
    {
        let (host, owned) = (self.host.clone(), spec.clone());
        let done = tokio::task::spawn_blocking(move || run(&host, &owned).map_err(Into::into)).await;
        let done = done.unwrap_or_else(|panic| Err(StepError::new(ErrorKind::Bug, panic)));
        done.map_err(|e| e.named(spec, step))
    }

    /// The same for a step that makes or removes something of the host, and is over soon:
    /// after those of the same sandbox that began before, also where a kill left them
    /// behind, or its removal would come before what it removes. (The longest is a copy of
    /// a writable layer on ext4: a kill in the middle of one is done when that is.)
    async fn step_in_turn<T, E, F>(&self, spec: &MachineSpec, step: &'static str, run: F) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Into<StepError> + Send + 'static,
        F: FnOnce(&Host, &MachineSpec) -> Result<T, E> + Send + 'static,
    {
        let turn = self.host.turns.take(&spec.sandbox_id).await;
        let run = move |host: &Host, spec: &MachineSpec| {
            let _turn = turn;
            run(host, spec)
        };
        self.step(spec, step, run).await
    }

    /// As [`Self::step`] on a thread of its own, for a step that waits for others: those that it
    /// waits for may need a thread of the pool.
    async fn long_step<T, F>(&self, spec: &MachineSpec, step: &'static str, run: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Host, &MachineSpec) -> Result<T, StepError> + Send + 'static,
    {
        let (host, owned) = (self.host.clone(), spec.clone());
        let (answer, done) = tokio::sync::oneshot::channel();
        let work = move || {
            // Nobody hears it after a kill.
            let _ = answer.send(run(&host, &owned));
        };
        let started = std::thread::Builder::new().name(step.to_owned()).spawn(work);
        let done = match started {
            Ok(_) => done.await.unwrap_or_else(|panicked| Err(StepError::new(ErrorKind::Bug, panicked))),
            Err(e) => Err(e.into()),
        };
        done.map_err(|e| e.named(spec, step))
    }
}

/// Ends machines of a server that is gone, and removes their control groups and
/// that server's subtree with them; for who has nothing else of theirs. Blocks.
pub(crate) fn end_machines(cgroup_name: &str, ids: &[model::SandboxId]) -> Result<(), CgroupError> {
    let groups = Cgroups::open(cgroup_name)?;
    for id in ids {
        groups.kill(id)?;
        groups.remove(id)?;
    }
    Ok(())
}

/// The backend cannot be opened on this host.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No usable control groups.
    #[error("preparing control groups")]
    Cgroups(#[from] cgroup::Error),
    /// No thread for the sockets of sandboxes.
    #[error("starting the thread that opens sockets in sandboxes")]
    Sockets(#[source] io::Error),
}

/// A cause with what it means, before the step has its name.
#[derive(Debug)]
struct StepError {
    kind: ErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StepError {
    fn new(kind: ErrorKind, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { kind, source: Box::new(source) }
    }

    fn named(self, spec: &MachineSpec, step: &'static str) -> Error {
        Error { kind: self.kind, step, sandbox_id: spec.sandbox_id.clone(), source: self.source }
    }
}

/// What a kernel's refusal means.
fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EAGAIN) => {
            ErrorKind::Exhausted
        }
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EROFS | libc::ENODEV) => {
            ErrorKind::Unsupported
        }
        _ => ErrorKind::Bug,
    }
}

impl From<io::Error> for StepError {
    fn from(e: io::Error) -> Self {
        Self::new(kind_of(&e), e)
    }
}

impl From<cgroup::Error> for StepError {
    fn from(e: cgroup::Error) -> Self {
        let kind = match &e {
            cgroup::Error::File { source, .. } => kind_of(source),
            cgroup::Error::Missing(_) => ErrorKind::Unsupported,
            cgroup::Error::Immortal(_) | cgroup::Error::Restless(_) => ErrorKind::Bug,
        };
        Self::new(kind, e)
    }
}

impl From<crate::storage::Error> for StepError {
    fn from(e: crate::storage::Error) -> Self {
        Self::new(e.kind(), e)
    }
}

impl From<crate::network::Error> for StepError {
    fn from(e: crate::network::Error) -> Self {
        Self::new(e.kind(), e)
    }
}

impl Backend for Namespaces {
    fn isolation(&self) -> Isolation {
        Isolation::Namespaces
    }

    fn reserve<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let host = self.host.clone();
            drop(tokio::task::spawn_blocking(move || host.cgroups.warm_up()));
            self.step_in_turn(spec, "making control groups", |host, spec| {
                host.cgroups.create(&spec.sandbox_id, spec.slot, spec.resources)
            })
            .await
        })
    }

    fn prepare<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.step_in_turn(spec, "making the writable layer", boot::prepare))
    }

    fn boot<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<Arc<dyn Machine>, Error>> {
        Box::pin(async move {
            let process = self.step(spec, "starting the first process", boot::boot).await?;
            self.machine(spec, process, false)
        })
    }

    fn adopt<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<Option<Arc<dyn Machine>>, Error>> {
        Box::pin(async move {
            // A server that died in a checkpoint of its files left it standing still.
            let find = |host: &Host, spec: &MachineSpec| {
                host.cgroups.thaw(&spec.sandbox_id)?;
                boot::find(host, spec)
            };
            let found = self.step(spec, "looking for the first process", find).await?;
            found.map(|(process, settled)| self.machine(spec, process, settled)).transpose()
        })
    }

    fn unprepare<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            // The disk goes even if the network will not: both are tried each time.
            let remove = self.step_in_turn(spec, "removing the writable layer", |host, spec| {
                host.storage.remove(&spec.dir)
            });
            let (removed, detached) = tokio::join!(remove, self.host.network.detach(spec.slot));
            removed?;
            detached.map_err(|e| StepError::from(e).named(spec, "detaching the network"))
        })
    }

    fn unreserve<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.step_in_turn(spec, "removing control groups", |host, spec| {
            host.cgroups.kill(&spec.sandbox_id)?;
            host.cgroups.remove(&spec.sandbox_id)
        }))
    }

    fn park<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let store = self.step(spec, "writing its files back", |host, spec| host.storage.store(&spec.dir));
            let (stored, detached) = tokio::join!(store, self.host.network.detach(spec.slot));
            stored?;
            detached.map_err(|e| StepError::from(e).named(spec, "detaching the network"))
        })
    }

    fn unpark<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(
            self.step_in_turn(spec, "taking the writable layer up", |host, spec| {
                host.storage.reopen(&spec.dir)
            }),
        )
    }

    fn discard<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(
            self.step_in_turn(spec, "removing the writable layer", |host, spec| {
                host.storage.remove(&spec.dir)
            }),
        )
    }

    fn checkpoint<'a>(
        &'a self,
        spec: &'a MachineSpec,
        machine: &'a Arc<dyn Machine>,
        to: CheckpointTo<'a>,
        then: Then,
    ) -> BoxFuture<'a, Result<Checkpointed, Error>> {
        let target = Target::from(to);
        Box::pin(async move {
            let stops = matches!(then, Then::Stop(_));
            let write = move |host: &Host, spec: &MachineSpec| checkpoint::write(host, spec, &target, then);
            let done = self.long_step(spec, "checkpointing", write).await?;
            if stops {
                machine.kill().await?;
            }
            Ok(done)
        })
    }

    fn prepare_from<'a>(
        &'a self,
        spec: &'a MachineSpec,
        layer: &'a Path,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let layer = layer.to_owned();
        Box::pin(self.step_in_turn(spec, "copying the writable layer", move |host, spec| {
            host.storage.create_from(&spec.dir, &layer, spec.resources.disk).map(drop)
        }))
    }

    fn restore<'a>(
        &'a self,
        spec: &'a MachineSpec,
        memory: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Machine>, Error>> {
        let memory = memory.to_owned();
        Box::pin(async move {
            let restore = move |host: &Host, spec: &MachineSpec| restore::restore(host, spec, &memory);
            let process = self.step(spec, "restoring its memory", restore).await?;
            self.machine(spec, process, false)
        })
    }

    fn share_memory<'a>(
        &'a self,
        memory: &'a Path,
        with: &'a Path,
    ) -> BoxFuture<'a, Result<ByteSize, std::io::Error>> {
        let [memory, with] = [memory, with].map(|dir| dir.join(checkpoint::IMAGES));
        Box::pin(async move {
            let shared = tokio::task::spawn_blocking(move || criu::share(&memory, &with)).await;
            shared.map_err(std::io::Error::other)?.map(ByteSize::bytes)
        })
    }

    fn memory_checkpoints(&self) -> Result<(), String> {
        self.host.options.criu.as_ref().map(drop).map_err(Clone::clone)?;
        match &*self.host.disproved.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    fn writes_in_rounds(&self) -> bool {
        self.host.tracks_pages
    }

    fn upper_dir(&self, spec: &MachineSpec) -> PathBuf {
        WritableLayer::of(&spec.dir).upper
    }

    fn remove_layer<'a>(&'a self, layer: &'a Path) -> BoxFuture<'a, Result<(), std::io::Error>> {
        let (host, layer) = (self.host.clone(), layer.to_owned());
        Box::pin(async move {
            let removed = tokio::task::spawn_blocking(move || host.storage.remove_layer(&layer)).await;
            removed.map_err(std::io::Error::other)?.map_err(std::io::Error::other)
        })
    }

    fn trees(&self) -> Option<Arc<dyn Trees>> {
        self.host.storage.trees()
    }

    fn merge<'a>(
        &'a self,
        layers: &'a [PathBuf],
        below: &'a [PathBuf],
        to: &'a Path,
    ) -> BoxFuture<'a, Result<(), std::io::Error>> {
        let host = self.host.clone();
        let (layers, below, to) = (layers.to_vec(), below.to_vec(), to.to_owned());
        Box::pin(async move {
            let merged = tokio::task::spawn_blocking(move || host.storage.merge(&layers, &below, &to)).await;
            merged.map_err(std::io::Error::other)?.map_err(std::io::Error::other)
        })
    }

    fn seal<'a>(&'a self, spec: &'a MachineSpec, to: &'a Path) -> BoxFuture<'a, Result<(), Error>> {
        let to = to.to_owned();
        Box::pin(self.step(spec, "sealing the layer", move |host, spec| {
            forget_identity(&WritableLayer::of(&spec.dir).upper)?;
            host.storage.seal(&spec.dir, &to).map_err(StepError::from)
        }))
    }
}

impl Namespaces {
    fn machine(
        &self,
        spec: &MachineSpec,
        process: boot::FirstProcess,
        settled: bool,
    ) -> Result<Arc<dyn Machine>, Error> {
        let machine = machine::NamespacesMachine::watch(self.host.clone(), spec, process, settled);
        let machine = machine.map_err(|e| StepError::from(e).named(spec, "watching the first process"))?;
        Ok(Arc::new(machine))
    }
}

/// Takes out of a writable layer what `prepare` put in: the next machine gets its
/// own, and a layer must not depend on which machine made it. Links are removed
/// as such, never followed.
fn forget_identity(upper: &Path) -> Result<(), StepError> {
    let etc = upper.join("etc");
    if !std::fs::symlink_metadata(&etc).is_ok_and(|meta| meta.is_dir()) {
        return Ok(());
    }
    for name in boot::IDENTITY {
        match std::fs::remove_file(etc.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Sends a signal that ends everything: the first process takes its namespace along.
fn kill(pidfd: impl std::os::fd::AsFd) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        done => done.map_err(Into::into),
    }
}

/// Whether a process has ended.
fn has_ended(pidfd: impl std::os::fd::AsFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut fds, Some(&now))? > 0)
}

/// The number as text, for `/proc`.
fn proc_dir(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", pid.as_raw_pid()))
}

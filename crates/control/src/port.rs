//! What the control plane asks of a node: in this process today, over the
//! network later.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use model::{BuildId, ByteSize, KilledBy, SandboxId, TeamId, TemplateId, Timestamp};
use node::build::{
    BuildOrder, BuildProgress, CachedStep, Collected, FilesHash, LogEntry, LogPage, UploadError, Verified,
};
use node::{
    Approval, Checkpoint, Connection, CreateSandbox, DialError, DiffPage, DiffRequest, Ended, Error, Host,
    Keep, Observation, Room, TemplateBuild, Waking,
};
use tokio::sync::watch;
use wire::exposition::Family;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a sandbox uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time so far, in microseconds.
    pub cpu_micros: u64,
    /// Memory in use, page cache included.
    pub memory: ByteSize,
    /// Page cache within `memory`.
    pub memory_cache: ByteSize,
    /// Writable disk in use.
    pub disk: ByteSize,
}

/// A node: commands go down as calls, facts come up as levels.
pub trait NodePort: Debug + Send + Sync + 'static {
    /// Makes a sandbox; answers once it is usable, or after everything was undone.
    /// Until somebody approves of it, it has a place and nothing else.
    fn create(&self, sandbox: CreateSandbox, approval: Approval)
    -> BoxFuture<'_, Result<Observation, Error>>;

    /// Ends a sandbox; answers once nothing of it is in view.
    fn kill<'a>(&'a self, sandbox: &'a SandboxId, by: KilledBy) -> BoxFuture<'a, Result<Ended, Error>>;

    /// Moves the moment at which a sandbox ends by itself.
    fn set_deadline<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        deadline: Timestamp,
    ) -> BoxFuture<'a, Result<Observation, Error>>;

    /// Whether the memory of processes can be kept here; if not, why not.
    fn memory_checkpoints(&self) -> Result<(), String>;

    /// Puts a sandbox to sleep; answers when it is. With `demands_answer`, one
    /// whose daemon is stuck goes on as it was.
    fn pause<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        keep: Keep,
        demands_answer: bool,
    ) -> BoxFuture<'a, Result<Observation, Error>>;

    /// Wakes one that sleeps, to live this long; answers once it is usable. One
    /// that runs is left as it is.
    fn resume<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        timeout: Duration,
        waking: Waking,
    ) -> BoxFuture<'a, Result<Observation, Error>>;

    /// Writes the state of a running sandbox down; it goes on. The state stays
    /// while the answer does.
    fn checkpoint<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        keep: Keep,
    ) -> BoxFuture<'a, Result<Checkpoint, Error>>;

    /// Keeps a state as a build, until that is forgotten.
    fn keep_checkpoint<'a>(
        &'a self,
        state: &'a Checkpoint,
        template: &'a TemplateId,
        build: BuildId,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Takes a sandbox back to a state of it that was kept, to live this long from there.
    fn rollback<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        build: BuildId,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Observation, Error>>;

    /// A page of how the files of two states differ that were kept as builds.
    fn diff(&self, from: BuildId, to: BuildId, page: DiffRequest) -> BoxFuture<'_, Result<DiffPage, Error>>;

    /// One sandbox as last published. From memory.
    fn get(&self, sandbox: &SandboxId) -> Option<Observation>;

    /// Every sandbox as last published. From memory.
    fn list(&self) -> Vec<Observation>;

    /// A counter that grows whenever something in [`list`](Self::list) changed.
    fn observe(&self) -> watch::Receiver<u64>;

    /// The record of a sandbox that ended not long ago.
    fn ended(&self, sandbox: &SandboxId) -> Option<Ended>;

    /// What a sandbox uses now.
    fn usage<'a>(&'a self, sandbox: &'a SandboxId) -> BoxFuture<'a, Result<Usage, Error>>;

    /// Connects to a port of a running sandbox. One attempt.
    fn dial<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn Connection>, DialError>>;

    /// What the daemon inside had to tell from a number on, within `limit`.
    fn logs<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        from: u64,
        limit: Duration,
    ) -> BoxFuture<'a, Result<wire::control::LogPage, Error>>;

    /// The builds that sandboxes can be started from here.
    fn templates(&self) -> Vec<TemplateBuild>;

    /// What the host has, and what is promised and free of it.
    fn room(&self) -> BoxFuture<'_, io::Result<Room>>;

    /// What kind of machine it is, and how busy.
    fn host(&self) -> BoxFuture<'_, io::Result<Host>>;

    /// What builds templates here.
    fn builds(&self) -> &dyn BuildPort;
}

/// Measurements of parts that the control plane does not know, for its operator.
pub trait Gauges: Debug + Send + Sync {
    /// Their present values; quick, and from memory or a few files' sizes.
    fn families(&self) -> Vec<Family>;
}

/// The content of an upload, as it comes.
pub type Upload = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// What the control plane asks of a node about builds that clients order.
pub trait BuildPort: Debug + Send + Sync {
    /// Begins a build, which goes on by itself.
    fn start(&self, order: BuildOrder) -> BoxFuture<'_, Result<(), Error>>;

    /// How far a build is; `None` if the node knows nothing of it.
    fn progress(&self, build: BuildId) -> BoxFuture<'_, Option<BuildProgress>>;

    /// A page of a build's log.
    fn log(&self, build: BuildId, page: LogPage) -> BoxFuture<'_, Result<Vec<LogEntry>, Error>>;

    /// Forgets a build, and ends it if it is under way.
    fn forget(&self, build: BuildId) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends a build under way; `false` if there is none.
    fn cancel(&self, build: BuildId) -> bool;

    /// The steps that a team's builds find.
    fn steps(&self, team: TeamId) -> BoxFuture<'_, Result<Vec<CachedStep>, Error>>;

    /// Forgets a step; `false` if there is none.
    fn forget_step<'a>(&'a self, team: TeamId, key: &'a str) -> BoxFuture<'a, Result<bool, Error>>;

    /// Removes layers that nothing leads to or stands on.
    fn collect(&self, team: TeamId, unused_for: Duration) -> BoxFuture<'_, Result<Collected, Error>>;

    /// Reads every layer and compares it with what it was.
    fn verify(&self) -> BoxFuture<'_, Result<Verified, Error>>;

    /// Whether a team uploaded files of this hash.
    fn has_files<'a>(&'a self, team: TeamId, hash: &'a FilesHash) -> BoxFuture<'a, bool>;

    /// Keeps an upload, whole or not at all.
    fn receive_files<'a>(
        &'a self,
        team: TeamId,
        hash: &'a FilesHash,
        expected: Option<u64>,
        content: Upload,
    ) -> BoxFuture<'a, Result<(), UploadError>>;
}

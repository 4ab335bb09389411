//! The boundary that every isolation backend implements.
//!
//! Order of a start: `reserve` → `prepare` → `boot`; of an end: `Machine::kill`
//! → `unprepare` → `unreserve`. Every undo may be called at any time, also
//! after a step that failed half-way or never ran, and is safe twice. All of
//! them are keyed by the spec, which the node keeps on disk: the backend itself
//! has no memory that a restart could lose.

use std::fmt::Debug;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use model::{ByteSize, Isolation, Resources, SandboxId, Slot};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::checkpoint::{CheckpointTo, Checkpointed, Then};
use crate::trees::Trees;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything a backend needs to know of one sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// Whose machine it is; names its directory, cgroup and network interface.
    pub sandbox_id: SandboxId,
    /// Fixes its range of user ids and its network address.
    pub slot: Slot,
    /// Read-only directories of the root, topmost first: the guest's own layer,
    /// then the template's. Each holds unshifted ids.
    pub layers: Vec<PathBuf>,
    /// A directory of this sandbox alone, on the state file system; the backend
    /// owns everything below it. It exists when `reserve` is called.
    pub dir: PathBuf,
    /// What it may use.
    pub resources: Resources,
    /// Its host name inside.
    pub hostname: String,
    /// Path and arguments, inside the root, of the first process.
    pub command: Vec<String>,
    /// Environment of the first process.
    pub env: Vec<(String, String)>,
}

/// What a failure means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The host lacks a capability; trying again will not help.
    Unsupported,
    /// The host has no more of something (disk, memory, addresses).
    Exhausted,
    /// A mistake of ours, or a host in a state that we did not expect.
    Bug,
}

/// A step failed. The message names the step and its subject; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[error("{step} for sandbox {sandbox_id}")]
pub struct Error {
    /// What it means.
    pub kind: ErrorKind,
    /// The step in words, for example `mounting the root`.
    pub step: &'static str,
    /// Whose machine.
    pub sandbox_id: SandboxId,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// How a machine's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself or by a signal, with memory to spare.
    Ended,
    /// The kernel ended it for want of memory.
    OutOfMemory,
}

/// What a machine uses now, as the host counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time so far, in microseconds.
    pub cpu_micros: u64,
    /// Memory in use, page cache included.
    pub memory: ByteSize,
    /// Page cache within `memory`.
    pub memory_cache: ByteSize,
    /// Highest `memory` so far.
    pub memory_peak: ByteSize,
    /// Writable disk in use.
    pub disk: ByteSize,
    /// Processes that the kernel ended for want of memory.
    pub oom_kills: u64,
}

/// Bytes to and from a port inside.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + Debug> Connection for T {}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing listens on that port.
    #[error("port {0} refuses connections")]
    Refused(u16),
    /// The machine is gone.
    #[error("the sandbox is gone")]
    Gone,
    /// Anything else.
    #[error("dialling port {port}")]
    Io {
        /// The port.
        port: u16,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Reaches the ports of one machine. Cheap to clone behind an `Arc`; holding
/// one does not keep the machine alive.
pub trait Dial: Send + Sync + Debug {
    /// Connects to a TCP port inside, wherever it listens: any address,
    /// `127.0.0.1` or `::1`. One attempt; dropping the future abandons it.
    fn dial(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>>;

    /// Connects to the guest's control socket, which nothing but this host can
    /// reach: the abstract Unix socket `wire::control::SOCKET_NAME` in the
    /// machine's network namespace.
    fn dial_control(&self) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>>;
}

/// A machine whose first process was started.
pub trait Machine: Send + Sync + Debug {
    /// Reaches its ports.
    fn dialer(&self) -> Arc<dyn Dial>;

    /// Waits until the first process and with it every other is gone. A level,
    /// not an edge: it may be asked often and late. Cancel-safe.
    fn exited(&self) -> BoxFuture<'_, Exit>;

    /// Ends every process inside at once; returns when none is left. Safe twice.
    fn kill(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Reads what it uses.
    fn usage(&self) -> BoxFuture<'_, Result<Usage, Error>>;

    /// Called once after the guest answered: anything that may happen off the
    /// path of the create (moving the daemon to its reserved cgroup, …).
    fn settle(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// One kind of isolation. Every future runs to its end or to a clean failure
/// when polled; dropping one may leave a half-done step, which the undo mends.
pub trait Backend: Send + Sync + Debug {
    /// Which barrier its machines have.
    fn isolation(&self) -> Isolation;

    /// Claims what is scarce: cgroups with their limits.
    fn reserve<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>>;

    /// Makes the bounded writable layer and the network.
    fn prepare<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>>;

    /// Starts the first process behind the barrier. It has not answered yet.
    fn boot<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<Arc<dyn Machine>, Error>>;

    /// Finds a machine that an earlier server started; `None` when its
    /// processes are gone (then the undos clean up).
    fn adopt<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<Option<Arc<dyn Machine>>, Error>>;

    /// Undoes `prepare`. The machine must be dead.
    fn unprepare<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>>;

    /// Undoes `reserve`, ending whatever still runs in it.
    fn unreserve<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>>;

    /// Undoes `prepare` but for the writable layer, which is written back so
    /// that it outlives the host's next restart. The machine must be dead. Safe
    /// twice; after it the slot may be another's.
    fn park<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>>;

    /// Stands for `prepare` where `park` left a writable layer. Undone by `park`.
    fn unpark<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>>;

    /// Removes the writable layer that `park` left, and nothing of the slot. Safe twice.
    fn discard<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>>;

    /// Writes down what a running machine is, as of one moment at which it stands
    /// still. On any error it runs on unharmed, nothing is at the paths, and the
    /// error says what cannot be written down. After [`Then::Stop`] the machine
    /// has ended; its undos are still to be called. (Once [`crate::Standing::end`] was
    /// called, an error means that it may still run and is to be killed.) Not together
    /// with `settle`. Dropping the future leaves the work to end by itself.
    fn checkpoint<'a>(
        &'a self,
        spec: &'a MachineSpec,
        machine: &'a Arc<dyn Machine>,
        to: CheckpointTo<'a>,
        then: Then,
    ) -> BoxFuture<'a, Result<Checkpointed, Error>>;

    /// Stands for `prepare`: the writable layer starts as a copy of a
    /// checkpoint's `layer`, within the same bound. Undone by `unprepare` (or `park`).
    fn prepare_from<'a>(&'a self, spec: &'a MachineSpec, layer: &'a Path)
    -> BoxFuture<'a, Result<(), Error>>;

    /// Stands for `boot`, after a `prepare_from` of the layer that was written
    /// with this `memory`: the processes go on where they were, under this spec's
    /// slot. Its layers must be those of the checkpointed machine. Connections to
    /// the outside are cut, those within the sandbox live on. The guest runs, and
    /// is to be told what is new (`wire::control::Init::woken`).
    fn restore<'a>(
        &'a self,
        spec: &'a MachineSpec,
        memory: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Machine>, Error>>;

    /// Whether checkpoints can have a memory here; if not, why not, in words.
    fn memory_checkpoints(&self) -> Result<(), String>;

    /// Whether a large memory is written in rounds while its machine goes on, so that it
    /// stands still for what changed meanwhile: where the kernel tells that.
    fn writes_in_rounds(&self) -> bool;

    /// The directory that holds what the sandbox wrote (an overlay upper
    /// layer, unshifted ids), for template builds. Valid between `prepare` and
    /// `unprepare`; stable once the machine is dead.
    fn upper_dir(&self, spec: &MachineSpec) -> PathBuf;

    /// Makes what a dead machine wrote a read-only layer named `to`, which must
    /// not exist; called before `unprepare`. The name appears when the layer is
    /// complete. A backend whose writable layer is no plain directory beside
    /// the layers overrides this.
    fn seal<'a>(&'a self, spec: &'a MachineSpec, to: &'a Path) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            std::fs::rename(self.upper_dir(spec), to).map_err(|e| Error {
                kind: ErrorKind::Bug,
                step: "sealing the layer",
                sandbox_id: spec.sandbox_id.clone(),
                source: e.into(),
            })
        })
    }

    /// Makes the layer `to`, which must not exist, of several, topmost first: in
    /// their place on top of `below` it shows the same. The name appears when the layer
    /// is complete. Dropping the future does not stop the work. A backend whose
    /// layers are no plain directories overrides this.
    fn merge<'a>(
        &'a self,
        layers: &'a [PathBuf],
        below: &'a [PathBuf],
        to: &'a Path,
    ) -> BoxFuture<'a, Result<(), std::io::Error>> {
        let (layers, below, to) = (layers.to_vec(), below.to_vec(), to.to_owned());
        Box::pin(async move {
            let work = move || crate::storage::merge_beside(&layers, &below, &to);
            let merged = tokio::task::spawn_blocking(work).await;
            merged.map_err(std::io::Error::other)?.map_err(std::io::Error::other)
        })
    }

    /// Makes layers that are copied without copying what they hold; `None` where the
    /// host's file system cannot.
    fn trees(&self) -> Option<Arc<dyn Trees>> {
        None
    }

    /// Removes a layer that nothing stands on. Safe twice. A backend whose layers
    /// are no plain directories overrides this.
    fn remove_layer<'a>(&'a self, layer: &'a Path) -> BoxFuture<'a, Result<(), std::io::Error>> {
        Box::pin(async move {
            match std::fs::remove_dir_all(layer) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        })
    }

    /// Lets a memory that was just written, and that nobody has seen yet, share on the
    /// disk what it has in common with an older one, where the state file system can;
    /// answers how much that is. The bytes of both stay what they are, also on an
    /// error. Dropping the future does not stop the work.
    fn share_memory<'a>(
        &'a self,
        memory: &'a Path,
        with: &'a Path,
    ) -> BoxFuture<'a, Result<ByteSize, std::io::Error>> {
        let _ = (memory, with);
        Box::pin(async { Ok(ByteSize::bytes(0)) })
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |e| e.source())
        .fold(error.to_string(), |all, e| format!("{all}: {e}"))
}

//! What the service is told when it starts, and the limits it works under.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::rest::Rest;
use super::spawn::KernelSpawner;

/// Everything the interpreter needs from the daemon around it.
#[derive(Clone)]
pub struct InterpreterConfig {
    /// Variables of the sandbox, read when a kernel starts and before each execution.
    pub envs: Arc<dyn Fn() -> BTreeMap<String, String> + Send + Sync>,
    /// Becomes true when the default kernel answered for the first time.
    pub ready: watch::Sender<bool>,
    /// The Python that has ipykernel.
    pub python: PathBuf,
    /// The template's interpreter files: what starts each language's kernel.
    pub files: PathBuf,
    /// Working directory of contexts that name none.
    pub cwd: PathBuf,
    /// A directory for connection files and sockets; made if missing, readable by
    /// its owner only, and short (a socket's path has at most 107 bytes).
    pub run_dir: PathBuf,
    /// Whether there is memory for a process that new Python kernels are forked
    /// from, and for one that waits.
    pub forks: Arc<dyn Fn() -> bool + Send + Sync>,
    /// How the service is told that the sandbox is about to be written down.
    pub rest: Rest,
    /// How kernel processes are started. Kernels run as root, as the reference's do:
    /// files that a cell writes belong to root, while commands run as `user`.
    pub spawn: Arc<dyn KernelSpawner>,
}

impl fmt::Debug for InterpreterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterpreterConfig")
            .field("python", &self.python)
            .field("files", &self.files)
            .field("cwd", &self.cwd)
            .field("run_dir", &self.run_dir)
            .finish_non_exhaustive()
    }
}

/// Connections served at once; more wait in the listener's queue.
pub(super) const MAX_CONNECTIONS: usize = 512;

/// Largest request body, in bytes.
pub(super) const MAX_BODY: usize = 32 << 20;

/// Contexts at once: each is a process of 60 MB and more.
pub(super) const MAX_CONTEXTS: usize = 64;

/// Largest message taken from a kernel, in bytes; a 50 MB image is 67 MB in
/// base64. A larger one is left out of the output, and the output says so.
pub(super) const MAX_MESSAGE: u64 = 96 << 20;

/// Output waiting for a slow client, in bytes. When it is full, the kernel's
/// socket is not read, so that the rest waits in the kernel.
pub(super) const MAX_QUEUED: u32 = 8 << 20;

/// Silence after which a line tells the client that the connection is alive.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(5);

/// How long a kernel may take from its start to its first answer.
pub(super) const START: Duration = Duration::from_mins(1);

/// How long the service's own snippets may take inside a kernel.
pub(super) const SNIPPET: Duration = Duration::from_secs(10);

/// How long code may go on after it was interrupted before its kernel is killed.
pub(super) const INTERRUPT_GRACE: Duration = Duration::from_secs(30);

/// Time between two interrupts of the same code.
pub(super) const INTERRUPT_AGAIN: Duration = Duration::from_secs(5);

/// How long half of the end of an execution (reply, idle) waits for the other half.
pub(super) const HALF_END: Duration = Duration::from_secs(30);

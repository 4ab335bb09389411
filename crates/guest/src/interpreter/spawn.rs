//! The seam between the interpreter and whoever starts processes.
//!
//! The daemon starts kernels through its own helper, so that they land in the
//! cgroup of user processes; tests use [`TokioSpawner`](super::TokioSpawner).

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

/// A kernel process to start.
#[derive(Debug, Clone)]
pub struct KernelCommand {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub args: Vec<String>,
    /// Variables to set on top of the spawner's own base.
    pub env: BTreeMap<String, String>,
    /// An existing directory.
    pub cwd: PathBuf,
}

/// What a kernel can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelSignal {
    /// SIGINT.
    Interrupt,
    /// SIGKILL.
    Kill,
}

/// A future with a borrowed lifetime, boxed so that the traits stay object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts kernels.
pub trait KernelSpawner: Send + Sync + fmt::Debug {
    /// Starts `command` as the leader of a new process group, with nothing on its
    /// standard input. The process is killed when its handle is dropped.
    fn spawn(&self, command: KernelCommand) -> BoxFuture<'_, io::Result<Box<dyn KernelProcess>>>;
}

/// A started kernel.
pub trait KernelProcess: Send + fmt::Debug {
    /// Waits for the end of the process and says how it ended (`exit status 1`,
    /// `killed by signal 9`). May be dropped and called again, also after the end.
    fn ended(&mut self) -> BoxFuture<'_, String>;

    /// Sends a signal to the whole process group, so that what the code started is
    /// interrupted with it. A group that is gone is no error.
    fn signal(&self, signal: KernelSignal) -> io::Result<()>;

    /// The number of that group; none before the start and where nothing tells.
    fn group(&self) -> Option<i32>;

    /// The end of what the process wrote to its standard error, at most a few
    /// kilobytes; empty where it was not kept.
    fn last_words(&self) -> String {
        String::new()
    }
}

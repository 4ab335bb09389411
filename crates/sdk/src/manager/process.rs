//! A program in the background, with callbacks and signals.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::commands::signal as send;
use crate::{CommandOutput, Error, ErrorKind, Sandbox};

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Asks it to end.
    Term,
    /// Ends it.
    Kill,
    /// As Ctrl-C does.
    Int,
    /// Its terminal is gone; many programs read their settings anew.
    Hup,
    /// Its own meaning.
    Usr1,
    /// Its own meaning.
    Usr2,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessExit {
    /// By itself or by a signal: what it left.
    Ended(CommandOutput),
    /// Nobody knows: the way to it broke.
    Lost(Arc<str>),
}

type On = Option<Box<dyn FnMut(&str) + Send>>;
type OnExit = Option<Box<dyn FnOnce(&ProcessExit) + Send>>;

/// A program to be started.
#[must_use = "a program is started by `start`"]
pub struct ProcessBuilder {
    sandbox: Sandbox,
    line: String,
    on_stdout: On,
    on_stderr: On,
    on_exit: OnExit,
}

impl std::fmt::Debug for ProcessBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessBuilder").field("line", &self.line).finish_non_exhaustive()
    }
}

impl ProcessBuilder {
    pub(super) fn new(sandbox: Sandbox, line: String) -> Self {
        Self { sandbox, line, on_stdout: None, on_stderr: None, on_exit: None }
    }

    /// Sees standard output as it comes.
    pub fn on_stdout(mut self, callback: impl FnMut(&str) + Send + 'static) -> Self {
        self.on_stdout = Some(Box::new(callback));
        self
    }

    /// Sees standard error as it comes.
    pub fn on_stderr(mut self, callback: impl FnMut(&str) + Send + 'static) -> Self {
        self.on_stderr = Some(Box::new(callback));
        self
    }

    /// Sees the end, once.
    pub fn on_exit(mut self, callback: impl FnOnce(&ProcessExit) + Send + 'static) -> Self {
        self.on_exit = Some(Box::new(callback));
        self
    }

    /// Starts it; it runs until it ends, without a limit.
    pub async fn start(self) -> Result<Process, Error> {
        let Self { sandbox, line, on_stdout, on_stderr, on_exit } = self;
        let handle = sandbox.commands().run(line).stdin().timeout(None).background().await?;
        let pid = handle.pid();
        let (sender, exit) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let ended = handle.drain(on_stdout.map(boxed), on_stderr.map(boxed)).await;
            let exit = match ended {
                Ok(output) => ProcessExit::Ended(output),
                Err(e) => ProcessExit::Lost(e.to_string().into()),
            };
            tracing::debug!(pid, ?exit, "a process ended");
            if let Some(callback) = on_exit {
                callback(&exit);
            }
            // The last receiver may be gone; then nobody waits.
            let _ = sender.send(Some(exit));
        });
        Ok(Process { sandbox, pid, exit, _task: task })
    }
}

fn boxed(callback: Box<dyn FnMut(&str) + Send>) -> crate::commands::Callback<'static> {
    callback
}

/// A program in the background. Dropping it ends the callbacks, not the program.
#[derive(Debug)]
pub struct Process {
    sandbox: Sandbox,
    pid: u32,
    exit: watch::Receiver<Option<ProcessExit>>,
    _task: JoinSet<()>,
}

impl Process {
    /// Its id inside the sandbox.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether its end has not been seen yet.
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Waits for the end; callbacks have been called by then. Cancel-safe, and
    /// may be called again.
    pub async fn wait(&self) -> Result<CommandOutput, Error> {
        let gone = || Error::new(ErrorKind::Sandbox, "the process is no longer watched");
        let mut exit = self.exit.clone();
        let exit = exit.wait_for(Option::is_some).await.map_err(|_| gone())?.clone();
        match exit.ok_or_else(gone)? {
            ProcessExit::Ended(output) => Ok(output),
            ProcessExit::Lost(why) => Err(Error::new(ErrorKind::SandboxNotRunning, &*why)),
        }
    }

    /// Writes to its input pipe.
    pub async fn send_stdin(&self, data: impl Into<bytes::Bytes>) -> Result<(), Error> {
        self.sandbox.commands().send_stdin(self.pid, data).await
    }

    /// Sends a signal. `false` if it had ended.
    pub async fn send_signal(&self, signal: Signal) -> Result<bool, Error> {
        use wire::process::Signal as Wire;
        let target = &self.sandbox.target;
        let name = match signal {
            Signal::Term => return send(target, self.pid, Wire::Sigterm).await,
            Signal::Kill => return send(target, self.pid, Wire::Sigkill).await,
            Signal::Int => "INT",
            Signal::Hup => "HUP",
            Signal::Usr1 => "USR1",
            Signal::Usr2 => "USR2",
        };
        // The daemon knows two signals; for the others there is `kill`.
        let line = format!("kill -{name} {}", self.pid);
        Ok(self.sandbox.commands().run(line).user("root").await?.exit_code == 0)
    }

    /// Ends it at once. `false` if it had ended.
    pub async fn kill(&self) -> Result<bool, Error> {
        self.send_signal(Signal::Kill).await
    }
}

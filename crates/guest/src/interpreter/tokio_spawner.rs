//! Kernels as plain child processes.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::AbortHandle;

use super::spawn::{BoxFuture, KernelCommand, KernelProcess, KernelSignal, KernelSpawner};

/// How much of a kernel's standard error is kept, in bytes.
const KEPT: usize = 4096;

/// Starts kernels as children of this process, with its environment as the base.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioSpawner;

impl KernelSpawner for TokioSpawner {
    fn spawn(&self, command: KernelCommand) -> BoxFuture<'_, io::Result<Box<dyn KernelProcess>>> {
        Box::pin(async move {
            let mut child = Command::new(&command.program)
                .args(&command.args)
                .envs(&command.env)
                .current_dir(&command.cwd)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .process_group(0)
                .kill_on_drop(true)
                .spawn()?;
            let words = Arc::new(Mutex::new(Vec::new()));
            let listener = child.stderr.take().map(|stderr| listen(stderr, Arc::clone(&words)));
            Ok(Box::new(Process { group: group(&child), child, words, listener }) as Box<dyn KernelProcess>)
        })
    }
}

fn group(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Reads standard error for as long as anybody has it open, so that nobody blocks
/// on it, and keeps its end.
fn listen(mut stderr: ChildStderr, words: Arc<Mutex<Vec<u8>>>) -> AbortHandle {
    let task = tokio::spawn(async move {
        let mut chunk = [0; 1024];
        while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
            let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
            words.extend_from_slice(&chunk[..count]);
            let surplus = words.len().saturating_sub(KEPT);
            words.drain(..surplus);
        }
    });
    task.abort_handle()
}

#[derive(Debug)]
struct Process {
    child: Child,
    group: Option<Pid>,
    words: Arc<Mutex<Vec<u8>>>,
    listener: Option<AbortHandle>,
}

impl KernelProcess for Process {
    fn ended(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            match self.child.wait().await {
                Ok(status) => describe(status),
                Err(error) => error.to_string(),
            }
        })
    }

    fn signal(&self, signal: KernelSignal) -> io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        let signal = match signal {
            KernelSignal::Interrupt => Signal::INT,
            KernelSignal::Kill => Signal::KILL,
        };
        match kill_process_group(group, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn group(&self) -> Option<i32> {
        self.group.map(|group| group.as_raw_nonzero().get())
    }

    fn last_words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&words).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group first: what the code started goes with its kernel.
        _ = self.signal(KernelSignal::Kill);
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

fn describe(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

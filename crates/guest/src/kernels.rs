//! Starts the interpreter's kernels like users' processes: through the exec
//! helper, so that they land in the users' cgroup.
//!
//! The interpreter's seam wants handles that may cross threads; the daemon's
//! parts live on one. A small task stands between the two.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use wire::control::LogLevel;

use crate::exec::{Launcher, Request, Session};
use crate::interpreter::{KernelCommand, KernelProcess, KernelSignal, KernelSpawner};
use crate::journal::Journal;
use crate::oom::OomLog;
use crate::process::{Endpoint, Exit, Reaper, end_event, environment, raw};
use crate::user::User;

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts that wait; the interpreter makes few.
const QUEUE: usize = 16;
/// How much of a kernel's standard error is kept, in bytes.
const KEPT: usize = 4096;

/// The interpreter's way to the exec helper.
#[derive(Debug)]
pub(crate) struct HelperSpawner {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    command: KernelCommand,
    started: oneshot::Sender<io::Result<Kernel>>,
}

impl HelperSpawner {
    /// Starts the task in between; it ends with the spawner.
    pub(crate) fn new(launcher: Rc<Launcher>, reaper: Rc<Reaper>, journal: Arc<Journal>) -> Self {
        let (orders, mut incoming) = mpsc::channel::<Order>(QUEUE);
        spawn_local(async move {
            while let Some(Order { command, started }) = incoming.recv().await {
                let kernel = start(&launcher, &reaper, command, &journal).await;
                if let Err(error) = &kernel {
                    let reason = [("reason", error.to_string())];
                    journal.note(LogLevel::Error, "interpreter", "A kernel did not start", &reason);
                }
                // A kernel that nobody waits for any more is killed by its drop.
                drop(started.send(kernel));
            }
        });
        Self { orders }
    }
}

impl KernelSpawner for HelperSpawner {
    fn spawn(&self, command: KernelCommand) -> BoxFuture<'_, io::Result<Box<dyn KernelProcess>>> {
        Box::pin(async move {
            let gone = || io::Error::other("the daemon is ending");
            let (started, answer) = oneshot::channel();
            self.orders.send(Order { command, started }).await.map_err(|_| gone())?;
            let kernel = answer.await.map_err(|_| gone())??;
            Ok(Box::new(kernel) as Box<dyn KernelProcess>)
        })
    }
}

async fn start(
    launcher: &Launcher,
    reaper: &Rc<Reaper>,
    command: KernelCommand,
    journal: &Arc<Journal>,
) -> io::Result<Kernel> {
    let root = User::named("root").ok_or_else(|| io::Error::other("there is no user root"))?;
    let (stderr, their_stderr) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let program = command.program.to_string_lossy().into_owned();
    let request = Request {
        argv: std::iter::once(program).chain(command.args).collect(),
        env: environment(BTreeMap::new(), &root, &command.env).into_iter().collect(),
        cwd: command.cwd.to_string_lossy().into_owned(),
        uid: root.uid,
        gid: root.gid,
        groups: root.groups(),
        session: Session::Group,
    };
    let starting = reaper.starting();
    let pid = launcher.launch(&request, [null()?, null()?, their_stderr]).await.map_err(io::Error::other)?;
    let exit = starting.started(pid);
    let words = Arc::new(Mutex::new(Vec::new()));
    spawn_local(listen(Endpoint::pipe(stderr)?, Arc::clone(&words)));
    let facts = [("pid", raw(pid).to_string())];
    journal.note(LogLevel::Info, "interpreter", "Kernel started", &facts);
    let oom = Arc::clone(reaper.oom());
    Ok(Kernel { pid, exit, end: None, words, journal: Arc::clone(journal), oom })
}

/// Reads standard error for as long as anybody has it open, and keeps its end.
async fn listen(stderr: Endpoint, words: Arc<Mutex<Vec<u8>>>) {
    while let Ok(chunk) = stderr.read().await
        && !chunk.is_empty()
    {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend_from_slice(&chunk);
        let surplus = words.len().saturating_sub(KEPT);
        words.drain(..surplus);
    }
}

/// A kernel that was started through the helper.
#[derive(Debug)]
struct Kernel {
    pid: Pid,
    exit: oneshot::Receiver<Exit>,
    end: Option<String>,
    words: Arc<Mutex<Vec<u8>>>,
    journal: Arc<Journal>,
    oom: Arc<OomLog>,
}

impl KernelProcess for Kernel {
    fn ended(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            if let Some(end) = &self.end {
                return end.clone();
            }
            let end = match (&mut self.exit).await {
                Ok(exit) => end_event(exit).status,
                Err(_) => "the daemon is ending".to_owned(),
            };
            let facts = [("pid", raw(self.pid).to_string()), ("status", end.clone())];
            self.journal.note(LogLevel::Info, "interpreter", "Kernel ended", &facts);
            self.end = Some(end.clone());
            end
        })
    }

    fn signal(&self, signal: KernelSignal) -> io::Result<()> {
        let signal = match signal {
            KernelSignal::Interrupt => Signal::INT,
            KernelSignal::Kill => {
                if self.end.is_none() {
                    self.oom.spare(self.pid);
                }
                Signal::KILL
            }
        };
        match kill_process_group(self.pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn group(&self) -> Option<i32> {
        Some(self.pid.as_raw_nonzero().get())
    }

    fn last_words(&self) -> String {
        String::from_utf8_lossy(&self.words.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // What the code started goes with its kernel; a group that is gone is gone.
        let _ = self.signal(KernelSignal::Kill);
    }
}

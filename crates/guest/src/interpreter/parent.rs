//! The Python process that has everything loaded, and the kernels it forks.
//!
//! ```text
//! start: spawn → its socket bound → connected;   fork: `fork` → `forked` … `ended`
//! ```
//!
//! The kernels are its children, so it is the one who hears of their ends and tells.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::config::{InterpreterConfig, START};
use super::kernel::Error;
use super::link::until_bound;
use super::place::Place;
use super::spawn::{BoxFuture, KernelProcess, KernelSignal};
use super::{plain, programs};

/// What it says is short.
const MAX_FRAME: u64 = 4096;

/// What is killed takes no longer to be gone, unless the kernel holds it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process that forks.
#[derive(Debug)]
pub(super) struct Parent {
    /// The sandbox's variables when it was started; its children have them.
    pub(super) envs: BTreeMap<String, String>,
    writer: tokio::sync::Mutex<plain::Writer>,
    children: Mutex<Children>,
    /// Dropping it ends the process. Children live on, but nobody tells of their end.
    process: tokio::sync::Mutex<Box<dyn KernelProcess>>,
    _place: Place,
}

#[derive(Debug, Default)]
struct Children {
    asked: HashMap<String, oneshot::Sender<Child>>,
    living: HashMap<i32, watch::Sender<Option<String>>>,
}

/// A kernel that was forked.
#[derive(Debug)]
struct Child {
    pid: Pid,
    end: watch::Receiver<Option<String>>,
}

impl Parent {
    /// Starts one and waits until it listens; `tasks` get the one that hears it.
    pub(super) async fn start(config: &InterpreterConfig, tasks: &TaskTracker) -> Result<Arc<Self>, Error> {
        let place = Place::make(&config.run_dir)?;
        let envs = (config.envs)();
        let command = programs::nursery(config, &place, envs.clone());
        let program = command.program.clone();
        let mut process =
            config.spawn.spawn(command).await.map_err(|source| Error::Spawn { program, source })?;
        let socket = place.socket();
        let deadline = Instant::now() + START;
        let connected = tokio::select! {
            connected = until_bound(deadline, || plain::connect(&socket, MAX_FRAME)) => connected,
            how = process.ended() => {
                return Err(Error::Ended { how, words: process.last_words() });
            }
        };
        let (reader, writer) = connected.ok_or(Error::Silent)?;
        let parent = Arc::new(Self {
            envs,
            writer: writer.into(),
            children: Mutex::default(),
            process: process.into(),
            _place: place,
        });
        tasks.spawn(listen(reader, Arc::downgrade(&parent)));
        Ok(parent)
    }

    /// How many of its kernels live.
    pub(super) fn living(&self) -> usize {
        self.children().living.len()
    }

    /// Kills it, and waits until it is gone, whoever else still holds it.
    pub(super) async fn end(&self) {
        let mut process = self.process.lock().await;
        _ = process.signal(KernelSignal::Kill);
        _ = timeout(PATIENCE, process.ended()).await;
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forks a kernel that will be reached at `place`.
    pub(super) async fn fork(&self, place: &Place) -> io::Result<Box<dyn KernelProcess>> {
        let connection = place.connection_file().to_string_lossy().into_owned();
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (asked, answer) = oneshot::channel();
        self.children().asked.insert(id.clone(), asked);
        self.writer.lock().await.send("fork", &id, connection.as_bytes()).await?;
        match timeout(START, answer).await {
            Ok(Ok(child)) => Ok(Box::new(child)),
            _ => Err(io::Error::other("it forks no more")),
        }
    }
}

/// Takes in what the parent tells until it ends.
async fn listen(mut reader: plain::Reader, parent: Weak<Parent>) {
    while let Ok(frame) = reader.receive().await {
        let Some(parent) = parent.upgrade() else { return };
        let text = String::from_utf8_lossy(&frame.payload).into_owned();
        parent.children().note(&frame.kind, &frame.id, text);
    }
    if let Some(parent) = parent.upgrade() {
        // Whoever still waits learns that nothing comes.
        *parent.children() = Children::default();
    }
}

impl Children {
    fn note(&mut self, kind: &str, id: &str, text: String) {
        match kind {
            "forked" => {
                let pid = text.parse().ok().and_then(Pid::from_raw);
                if let (Some(pid), Some(asked)) = (pid, self.asked.remove(id)) {
                    let (sender, end) = watch::channel(None);
                    self.living.insert(pid.as_raw_nonzero().get(), sender);
                    // Nobody waits any more: it is killed by the drop.
                    drop(asked.send(Child { pid, end }));
                }
            }
            "ended" => {
                if let Some(end) = id.parse().ok().and_then(|pid: i32| self.living.remove(&pid)) {
                    end.send_replace(Some(text));
                }
            }
            _ => {}
        }
    }
}

impl KernelProcess for Child {
    fn ended(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            match self.end.wait_for(Option::is_some).await {
                Ok(how) => how.clone().unwrap_or_default(),
                Err(_) => "the process that forked it is gone".to_owned(),
            }
        })
    }

    fn signal(&self, signal: KernelSignal) -> io::Result<()> {
        // Its number may be another's after its end.
        if self.end.borrow().is_some() {
            return Ok(());
        }
        let signal = match signal {
            KernelSignal::Interrupt => Signal::INT,
            KernelSignal::Kill => Signal::KILL,
        };
        match kill_process_group(self.pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn group(&self) -> Option<i32> {
        Some(self.pid.as_raw_nonzero().get())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // What the code started goes with its kernel.
        _ = self.signal(KernelSignal::Kill);
    }
}

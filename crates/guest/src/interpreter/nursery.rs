//! Python kernels by fork: a process that has everything loaded, and one kernel
//! that waits for its context.
//!
//! ```text
//!            first use of the interpreter        a context wants a kernel
//!   asleep ──────────────────────────────▶ awake ────────────────────────▶ its spare
//!      ▲   nobody there, or a package changed │                              │
//!      └──────────────────────────────────────┘ ◀── the next spare by fork ──┘
//! ```
//!
//! It is never needed: where it has no kernel, the context starts one from nothing.
//! A sandbox in which no code ran pays for none of it, and a small one never does.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::config::{InterpreterConfig, START};
use super::kernel::{Error, Kernel};
use super::link::until_bound;
use super::place::Place;
use super::spawn::{BoxFuture, KernelProcess, KernelSignal};
use super::{plain, programs};

/// After the use that wakes it, so as not to take the processor from that.
const DELAY: Duration = Duration::from_millis(500);
/// Between two attempts to wake it.
const PAUSE: Duration = Duration::from_secs(10);
/// What it says is short.
const MAX_FRAME: u64 = 4096;

/// Told when a kernel's sockets ended, once its context is known.
pub(super) type Deaths = Arc<OnceLock<Arc<Notify>>>;

/// The nursery of a sandbox.
#[derive(Debug)]
pub(super) struct Nursery {
    config: Arc<InterpreterConfig>,
    state: Mutex<State>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    waking: bool,
    tried: Option<Instant>,
    parent: Option<Arc<Parent>>,
    spare: Option<(Kernel, Deaths)>,
}

/// The process that forks.
#[derive(Debug)]
pub(super) struct Parent {
    /// The sandbox's variables when it was started; its children have them.
    pub(super) envs: BTreeMap<String, String>,
    writer: tokio::sync::Mutex<plain::Writer>,
    children: Mutex<Children>,
    /// Dropping it ends the process. Children live on, but nobody tells of their end.
    _process: Mutex<Box<dyn KernelProcess>>,
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

impl Nursery {
    /// One that sleeps.
    pub(super) fn new(config: Arc<InterpreterConfig>, tasks: TaskTracker) -> Self {
        Self { config, state: Mutex::default(), tasks }
    }

    /// Somebody uses the interpreter: from now on a spare kernel is kept.
    pub(super) fn wake(self: &Arc<Self>) {
        if !(self.config.forks)() {
            return;
        }
        let mut state = self.state();
        let tried = state.tried.is_some_and(|at| at.elapsed() < PAUSE);
        if state.waking || state.parent.is_some() || tried {
            return;
        }
        state.waking = true;
        state.tried = Some(Instant::now());
        let nursery = Arc::clone(self);
        self.tasks.spawn(async move {
            sleep(DELAY).await;
            let parent = nursery.start().await;
            {
                let mut state = nursery.state();
                state.waking = false;
                // What prevented it prevents nothing else: contexts start their own.
                state.parent = parent.ok();
            }
            nursery.refill().await;
        });
    }

    /// A kernel in the directory in which contexts start, if one waits.
    pub(super) fn take(self: &Arc<Self>) -> Option<(Kernel, Deaths)> {
        let spare = self.state().spare.take();
        let nursery = Arc::clone(self);
        self.tasks.spawn(async move { nursery.refill().await });
        spare.filter(|(kernel, _)| !kernel.is_dead())
    }

    /// Forks the next spare, unless there is one.
    async fn refill(self: &Arc<Self>) {
        let parent = {
            let state = self.state();
            state.parent.clone().filter(|_| state.spare.is_none())
        };
        let Some(parent) = parent else { return };
        let deaths = Deaths::default();
        let told = Arc::clone(&deaths);
        let on_death = move || told.get().into_iter().for_each(|deaths| deaths.notify_one());
        let kernel = Kernel::fork(&self.config, &parent, on_death).await.ok();
        let mut state = self.state();
        match kernel {
            Some(kernel) if state.spare.is_none() => state.spare = Some((kernel, deaths)),
            // Two refilled at once; the other was first.
            Some(_) => {}
            // It ended, or changed packages made it end: the next use wakes another.
            None => state.parent = None,
        }
    }

    async fn start(&self) -> Result<Arc<Parent>, Error> {
        let place = Place::make(&self.config.run_dir)?;
        let envs = (self.config.envs)();
        let command = programs::nursery(&self.config, &place, envs.clone());
        let program = command.program.clone();
        let mut process =
            self.config.spawn.spawn(command).await.map_err(|source| Error::Spawn { program, source })?;
        let socket = place.socket();
        let deadline = Instant::now() + START;
        let connected = tokio::select! {
            connected = until_bound(deadline, || plain::connect(&socket, MAX_FRAME)) => connected,
            how = process.ended() => {
                return Err(Error::Ended { how, words: process.last_words() });
            }
        };
        let (reader, writer) = connected.ok_or(Error::Silent)?;
        let parent = Arc::new(Parent {
            envs,
            writer: writer.into(),
            children: Mutex::default(),
            _process: Mutex::new(process),
            _place: place,
        });
        self.tasks.spawn(listen(reader, Arc::downgrade(&parent)));
        Ok(parent)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes in what the parent tells until it ends.
async fn listen(mut reader: plain::Reader, parent: std::sync::Weak<Parent>) {
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

impl Parent {
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
}

impl Drop for Child {
    fn drop(&mut self) {
        // What the code started goes with its kernel.
        _ = self.signal(KernelSignal::Kill);
    }
}

//! Python kernels by fork: a process that has everything loaded, and one kernel
//! that waits for its context.
//!
//! ```text
//!            first use of the interpreter        a context wants a kernel
//!   asleep ──────────────────────────────▶ awake ────────────────────────▶ its spare, else the next fork
//!      ▲   nobody there, or a package changed │                              │
//!      └──────────────────────────────────────┘ ◀── the next spare by fork ──┘
//!        or the sandbox is written down
//! ```
//!
//! It is never needed: where it has no kernel, the context starts one from nothing.
//! A sandbox in which no code ran pays for none of it, and a small one never does.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::brood::{Brood, Taken};
use super::config::InterpreterConfig;
use super::kernel::Kernel;
use super::parent::Parent;

/// After the use that wakes it, so as not to take the processor from that.
const DELAY: Duration = Duration::from_millis(500);
/// Between two attempts to wake it.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a rest waits for forks that are under way. With the ends that follow, it is
/// less than the host waits for an answer.
const BIRTHS: Duration = Duration::from_secs(2);
/// How long a context waits for a fork before it starts its kernel itself. One takes
/// some 20 ms of a processor; a nursery that was stopped takes for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Told when a kernel's sockets ended, once its context is known.
pub(super) type Deaths = Arc<OnceLock<Arc<Notify>>>;

/// A kernel without a context.
type Spare = (Kernel, Deaths);

/// The nursery of a sandbox.
#[derive(Debug)]
pub(super) struct Nursery {
    config: Arc<InterpreterConfig>,
    state: Mutex<State>,
    /// Told when a fork that was under way is done.
    born: Notify,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    waking: bool,
    /// How often it was told to rest, and how many rests are under way: meanwhile no
    /// spare is forked.
    rests: u64,
    resting: usize,
    tried: Option<Instant>,
    parent: Option<Arc<Parent>>,
    brood: Brood<Spare>,
}

impl Nursery {
    /// One that sleeps.
    pub(super) fn new(config: Arc<InterpreterConfig>, tasks: TaskTracker) -> Self {
        Self { config, state: Mutex::default(), born: Notify::new(), tasks }
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
        let rests = state.rests;
        let nursery = Arc::clone(self);
        self.tasks.spawn(async move {
            sleep(DELAY).await;
            if nursery.state().sleeps_on(rests) {
                return;
            }
            let parent = Parent::start(&nursery.config, &nursery.tasks).await;
            {
                let mut state = nursery.state();
                state.waking = false;
                // What prevented it prevents nothing else: contexts start their own.
                state.parent = parent.ok();
            }
            nursery.fork_what_is_wanted();
        });
    }

    /// Ends what only waits to be used, see [`Rest`](super::Rest). A parent that is just
    /// starting stays.
    pub(super) async fn rest(&self) {
        let _resting = Resting::begin(self);
        // What is being born cannot be ended before it is known by its number.
        _ = timeout(BIRTHS, self.births_are_over()).await;
        let (spare, parent) = self.state().give_up();
        if let Some((mut kernel, _)) = spare {
            kernel.end_now().await;
        }
        if let Some(parent) = parent {
            parent.end().await;
        }
    }

    async fn births_are_over(&self) {
        loop {
            let mut born = pin!(self.born.notified());
            // From here on none is missed.
            born.as_mut().enable();
            if !self.state().brood.is_busy() {
                return;
            }
            born.await;
        }
    }

    /// A kernel in the directory in which contexts start: the one that waits, or the
    /// next to be forked; `None` where none can be had. Dropping this leaves the
    /// kernel to the next who asks.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Spare> {
        let taken = {
            let mut state = self.state();
            state.brood.drop_spare_if(|(kernel, _)| kernel.is_dead());
            match state.parent {
                Some(_) => state.brood.take(),
                None => Taken::Now(state.brood.take_spare()?),
            }
        };
        self.fork_what_is_wanted();
        match taken {
            Taken::Now(spare) => Some(spare),
            Taken::Soon(spare) => timeout(PATIENCE, spare).await.ok()?.ok(),
        }
    }

    /// Forks for those who wait, and a spare.
    fn fork_what_is_wanted(self: &Arc<Self>) {
        let (parent, count) = {
            let mut state = self.state();
            let Some(parent) = state.parent.clone() else { return };
            let keeps_spare = state.resting == 0;
            (parent, state.brood.begin(keeps_spare))
        };
        for _ in 0..count {
            let (nursery, parent) = (Arc::clone(self), Arc::clone(&parent));
            self.tasks.spawn(async move { nursery.fork(&parent).await });
        }
    }

    async fn fork(self: &Arc<Self>, parent: &Arc<Parent>) {
        let deaths = Deaths::default();
        let told = Arc::clone(&deaths);
        let on_death = move || told.get().into_iter().for_each(|deaths| deaths.notify_one());
        let kernel = Kernel::fork(&self.config, parent, on_death).await;
        {
            let mut state = self.state();
            let is_parent = state.parent.as_ref().is_some_and(|present| Arc::ptr_eq(present, parent));
            if let Ok(kernel) = kernel {
                state.brood.born((kernel, deaths));
            } else {
                // It ended, or changed packages made it end: the next use wakes another.
                state.brood.failed();
                state.parent.take_if(|_| is_parent);
            }
        }
        self.fork_what_is_wanted();
        self.born.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rest under way, also one that is dropped.
struct Resting<'a>(&'a Nursery);

impl<'a> Resting<'a> {
    fn begin(nursery: &'a Nursery) -> Self {
        nursery.state().resting += 1;
        Self(nursery)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.state().resting -= 1;
    }
}

impl State {
    /// The spare, and the parent if nobody needs it: it is the one who hears of the
    /// ends of its kernels, so while a context has one it stays.
    fn give_up(&mut self) -> (Option<Spare>, Option<Arc<Parent>>) {
        let Self { rests, tried, parent, brood, .. } = self;
        *rests += 1;
        *tried = None;
        let spare = brood.take_spare();
        let unused = usize::from(spare.is_some());
        (spare, parent.take_if(|parent| !brood.is_busy() && parent.living() <= unused))
    }

    /// Whether it was told to rest since; then it is not waking any more.
    fn sleeps_on(&mut self, rests: u64) -> bool {
        if self.rests != rests {
            self.waking = false;
        }
        self.rests != rests
    }
}

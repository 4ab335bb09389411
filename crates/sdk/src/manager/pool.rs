//! Sandboxes kept ready.
//!
//! ```text
//!            warm             acquire            drop, reusable
//!  (slot) ────────▶ idle ───────────────▶ lent ────────────────▶ idle
//!                    │ check fails          │ drop, used up
//!                    └──────▶ killed, slot free ◀──────┘
//! ```
//!
//! A slot is a right to have one sandbox; there are `max`. Whatever becomes free,
//! a sandbox or a slot, goes to the one who waits longest.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Repeat, RetryPolicy};
use crate::sandbox::kill_later;
use crate::{Config, CreateOptions, Error, ErrorKind, Sandbox};

/// How a pool works.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// What its sandboxes should be.
    pub sandbox: CreateOptions,
    /// How long an idle one lives; renewed while it waits.
    pub lifetime: Duration,
    /// How many wait ready.
    pub min: usize,
    /// How many there are at most, lent ones included.
    pub max: usize,
    /// How long [`SandboxPool::acquire`] waits for one.
    pub acquire_timeout: Duration,
    /// How often idle ones are checked.
    pub check_every: Duration,
    /// Lends a sandbox again after it came back. Whoever gets it then sees what
    /// the one before left in it.
    pub reuse: bool,
    /// How often creating is tried.
    pub retry: RetryPolicy,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            sandbox: CreateOptions::new(),
            lifetime: Duration::from_mins(10),
            min: 1,
            max: 8,
            acquire_timeout: Duration::from_mins(1),
            check_every: Duration::from_secs(15),
            reuse: false,
            retry: RetryPolicy::default(),
        }
    }
}

#[derive(Debug)]
struct Idle {
    sandbox: Sandbox,
    checked: Instant,
}

#[derive(Debug, Default)]
struct State {
    idle: VecDeque<Idle>,
    /// Slots in use: idle, lent and being created.
    used: usize,
    /// Slots in which an idle one is being created.
    warming: usize,
    waiting: VecDeque<oneshot::Sender<Lease>>,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    options: PoolOptions,
    state: Mutex<State>,
    /// Something happened that may leave fewer ready than wanted.
    wake: Notify,
}

/// A slot, with or without a sandbox in it. Dropping it gives back what it holds.
#[derive(Debug)]
struct Lease {
    /// `None` once the slot was given to somebody else.
    shared: Option<Arc<Shared>>,
    sandbox: Option<Sandbox>,
    /// Whether the sandbox may be lent again.
    good: bool,
    /// Whether it counts as being warmed.
    warming: bool,
}

impl Lease {
    fn of(shared: &Arc<Shared>, sandbox: Option<Sandbox>) -> Self {
        Self { shared: Some(Arc::clone(shared)), sandbox, good: true, warming: false }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot that is free now, for a sandbox yet to be created.
    fn slot(self: &Arc<Self>, state: &mut State) -> Option<Lease> {
        let free = !state.closed && state.used < self.options.max;
        free.then(|| {
            state.used += 1;
            Lease::of(self, None)
        })
    }

    async fn create(&self) -> Result<Sandbox, Error> {
        let options = self.options.sandbox.clone().timeout(self.options.lifetime);
        let options = options.idempotency_key(crate::retry::key()?);
        let create = || Sandbox::create_with(&self.config, options.clone());
        self.options.retry.run(Repeat::Always, create).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let mut state = shared.state();
        state.warming -= usize::from(self.warming);
        let keep = self.good && !state.closed;
        let mut give = self.sandbox.take();
        if !keep && let Some(used_up) = give.take() {
            kill_later(used_up);
        }
        // To the one who waits longest; those who gave up are passed over.
        while let Some(next) = state.waiting.pop_front() {
            match next.send(Lease::of(&shared, give.take())) {
                Ok(()) => return,
                Err(mut back) => {
                    give = back.sandbox.take();
                    // Its slot stays ours: its drop must not give it away a second time.
                    back.shared = None;
                }
            }
        }
        match give {
            Some(sandbox) => state.idle.push_back(Idle { sandbox, checked: Instant::now() }),
            None => state.used -= 1,
        }
        drop(state);
        shared.wake.notify_one();
    }
}

/// Sandboxes kept ready. Dropping the pool kills, in the background, those that
/// are idle; lent ones are killed when they come back. One that is being created
/// at that moment, or when a call of [`SandboxPool::acquire`] is dropped, may be
/// left behind until its lifetime is over; [`SandboxPool::close`] leaves none.
#[derive(Debug)]
pub struct SandboxPool {
    shared: Arc<Shared>,
    keeper: JoinSet<()>,
}

impl SandboxPool {
    /// Starts to fill a pool; [`SandboxPool::ready`] waits for that.
    pub fn start(config: &Config, options: PoolOptions) -> Result<Self, Error> {
        if options.max == 0 || options.min > options.max {
            return Err(Error::invalid("a pool has room for at least one sandbox, and for those kept ready"));
        }
        let (state, wake) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { config: config.clone(), options, state, wake });
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(Arc::clone(&shared)));
        Ok(Self { shared, keeper })
    }

    /// Waits until as many are idle as the pool keeps ready; for ever, while none can
    /// be created. Cancel-safe.
    pub async fn ready(&self) {
        while self.idle() < self.shared.options.min {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many are idle.
    pub fn idle(&self) -> usize {
        self.shared.state().idle.len()
    }

    /// How many there are: idle, lent and being created.
    pub fn size(&self) -> usize {
        self.shared.state().used
    }

    /// Lends a sandbox: an idle one, a new one where there is room, else the next
    /// that comes back, in the order of the calls. Cancel-safe: what was meant
    /// for a dropped future goes to the next.
    pub async fn acquire(&self) -> Result<PooledSandbox, Error> {
        let limit = self.shared.options.acquire_timeout;
        let late = |_| {
            let text =
                format!("no sandbox of the pool became free within {limit:?}: raise `max`, or wait longer");
            Error::new(ErrorKind::Timeout, text)
        };
        tokio::time::timeout(limit, self.lend()).await.map_err(late)?
    }

    async fn lend(&self) -> Result<PooledSandbox, Error> {
        loop {
            let (mut lease, checked) = self.next().await?;
            let fresh = checked.is_some_and(|at| at.elapsed() < self.shared.options.check_every * 2);
            match &lease.sandbox {
                Some(sandbox) if fresh || sandbox.is_running().await.unwrap_or(false) => {}
                Some(sandbox) => {
                    tracing::warn!(
                        sandbox_id = sandbox.id(),
                        "a sandbox of the pool ended: another takes its place"
                    );
                    lease.good = false;
                    continue;
                }
                None => lease.sandbox = Some(self.shared.create().await?),
            }
            self.shared.wake.notify_one();
            lease.good = self.shared.options.reuse;
            return Ok(PooledSandbox { lease });
        }
    }

    /// A slot, and since when its sandbox is known to be well.
    async fn next(&self) -> Result<(Lease, Option<Instant>), Error> {
        let receiver = {
            let mut state = self.shared.state();
            if state.closed {
                return Err(closed());
            }
            // The newest known to be well first: the others get their check meanwhile.
            if let Some(idle) = state.idle.pop_back() {
                return Ok((Lease::of(&self.shared, Some(idle.sandbox)), Some(idle.checked)));
            }
            if let Some(slot) = self.shared.slot(&mut state) {
                return Ok((slot, None));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            receiver
        };
        let lease = receiver.await.map_err(|_| closed())?;
        let checked = lease.sandbox.is_some().then(Instant::now);
        Ok((lease, checked))
    }

    /// Lends no more, and kills what is idle; waits for that. Lent ones are killed
    /// in the background when they come back.
    pub async fn close(mut self) {
        let idle = self.end();
        self.shared.wake.notify_one();
        while self.keeper.join_next().await.is_some() {}
        for Idle { sandbox, .. } in idle {
            if let Err(e) = sandbox.kill().await {
                let sandbox_id = sandbox.id();
                tracing::warn!(sandbox_id, error = %e, "a sandbox was left behind until its timeout");
            }
        }
    }

    fn end(&self) -> VecDeque<Idle> {
        let mut state = self.shared.state();
        state.closed = true;
        state.waiting.clear();
        state.used -= state.idle.len();
        std::mem::take(&mut state.idle)
    }
}

impl Drop for SandboxPool {
    fn drop(&mut self) {
        self.end().into_iter().for_each(|idle| kill_later(idle.sandbox));
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the pool is closed")
}

/// Keeps as many ready as wanted, and those that are ready well.
async fn keep(shared: Arc<Shared>) {
    let mut creating = JoinSet::new();
    let mut failures = 0;
    let mut next_check = Instant::now() + shared.options.check_every;
    while !shared.state().closed {
        loop {
            let slot = {
                let mut state = shared.state();
                let ready = state.idle.len() + state.warming;
                let slot = (ready < shared.options.min).then(|| shared.slot(&mut state)).flatten();
                state.warming += usize::from(slot.is_some());
                slot
            };
            let Some(mut slot) = slot else { break };
            slot.warming = true;
            creating.spawn(warm(Arc::clone(&shared), slot));
        }
        tokio::select! {
            Some(done) = creating.join_next() => {
                failures = if matches!(done, Ok(true)) { 0 } else { failures + 1 };
                if failures > 0 {
                    tokio::time::sleep(crate::retry::backoff(failures, crate::retry::random())).await;
                }
            }
            () = shared.wake.notified() => {}
            () = tokio::time::sleep_until(next_check) => {
                check(&shared).await;
                next_check = Instant::now() + shared.options.check_every;
            }
        }
    }
    // What is being created comes to its end, and is killed then.
    while creating.join_next().await.is_some() {}
}

async fn warm(shared: Arc<Shared>, mut slot: Lease) -> bool {
    match shared.create().await {
        Ok(sandbox) => {
            slot.sandbox = Some(sandbox);
            true
        }
        Err(e) => {
            tracing::warn!(error = %e, "a sandbox for the pool could not be created");
            false
        }
    }
}

/// Looks after those that are idle: what ended is taken out, what is well lives longer.
async fn check(shared: &Arc<Shared>) {
    let idle: Vec<Sandbox> = shared.state().idle.iter().map(|idle| idle.sandbox.clone()).collect();
    for sandbox in idle {
        let well = sandbox.is_running().await.unwrap_or(false)
            && sandbox.set_timeout(shared.options.lifetime).await.is_ok();
        let mut state = shared.state();
        // It may have been lent meanwhile; then it is not ours to judge.
        let Some(at) = state.idle.iter().position(|idle| idle.sandbox.id() == sandbox.id()) else { continue };
        if well {
            state.idle[at].checked = Instant::now();
        } else if let Some(lost) = state.idle.remove(at) {
            tracing::warn!(sandbox_id = sandbox.id(), "a sandbox of the pool ended: another takes its place");
            drop(state);
            Lease::of(shared, Some(lost.sandbox)).good = false;
        }
    }
}

/// A lent sandbox. Dropping it gives it back, without waiting.
#[derive(Debug)]
pub struct PooledSandbox {
    lease: Lease,
}

impl PooledSandbox {
    /// Gives it back as one that must not be lent again.
    pub fn discard(mut self) {
        self.lease.good = false;
    }
}

impl Deref for PooledSandbox {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        self.lease.sandbox.as_ref().expect("a lent lease holds a sandbox until its drop")
    }
}

//! The connections into one sandbox: counted, dialled, kept for reuse.
//!
//! A pool belongs to one generation of one sandbox and dies with it, so no
//! request can meet a socket of a machine that is gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::SandboxId;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use wire::control::{ENVD_PORT, INTERPRETER_PORT};

use crate::options::ProxyOptions;
use crate::reply::Refusal;
use crate::{DialError, Route};

/// Waits between attempts at a port that refuses: a server inside may be
/// about to listen.
const BACK_OFF: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(400),
];

/// Our own servers inside keep idle connections for 640 s.
const OWN_IDLE: Duration = Duration::from_mins(1);

/// A user's server may close idle ones after two seconds (gunicorn), or serve
/// only one at a time.
const USER_IDLE: Duration = Duration::from_secs(1);

/// Idle connections kept for one port.
const MAX_IDLE: usize = 64;

/// Every sandbox that traffic went to, by id.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    map: Mutex<HashMap<SandboxId, Arc<Upstream>>>,
}

/// One generation of one sandbox.
#[derive(Debug)]
pub(crate) struct Upstream {
    route: Route,
    carried: AtomicUsize,
    idle: Mutex<HashMap<u16, Vec<Idle>>>,
    parked: Notify,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Incoming>,
    until: Instant,
}

/// The right to carry one request, and the connection it went over.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) upstream: Arc<Upstream>,
    port: u16,
    sender: Option<SendRequest<Incoming>>,
}

impl Upstreams {
    /// The pool for this route; one of an older generation is forgotten.
    pub(crate) fn of(self: &Arc<Self>, route: Route, tasks: &TaskTracker) -> Arc<Upstream> {
        let mut map = lock(&self.map);
        if let Some(upstream) = map.get(&route.sandbox_id)
            && upstream.route.generation == route.generation
        {
            return Arc::clone(upstream);
        }
        let sandbox_id = route.sandbox_id.clone();
        let upstream = Arc::new(Upstream {
            route,
            carried: AtomicUsize::new(0),
            idle: Mutex::default(),
            parked: Notify::new(),
        });
        map.insert(sandbox_id, Arc::clone(&upstream));
        tasks.spawn(Arc::clone(self).tend(Arc::clone(&upstream)));
        upstream
    }

    /// Closes connections that rested too long; at the end, forgets the pool.
    async fn tend(self: Arc<Self>, upstream: Arc<Upstream>) {
        let ended = upstream.route.ended.clone();
        let sweep = async {
            loop {
                upstream.parked.notified().await;
                while let Some(next) = upstream.sweep() {
                    tokio::time::sleep_until(next).await;
                }
            }
        };
        let _: Option<()> = ended.run_until_cancelled(sweep).await;
        let mut map = lock(&self.map);
        if map.get(&upstream.route.sandbox_id).is_some_and(|held| Arc::ptr_eq(held, &upstream)) {
            map.remove(&upstream.route.sandbox_id);
        }
        lock(&upstream.idle).clear();
    }
}

impl Upstream {
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// Claims one of the sandbox's places.
    pub(crate) fn lease(self: &Arc<Self>, port: u16, limit: usize) -> Result<Lease, Refusal> {
        let lease = Lease { upstream: Arc::clone(self), port, sender: None };
        let before = self.carried.fetch_add(1, Ordering::Relaxed);
        // The lease gives the place back when it is dropped, here too.
        if before < limit { Ok(lease) } else { Err(Refusal::TooMany(limit)) }
    }

    /// An idle connection that is ready to carry a request.
    fn idle(&self, port: u16) -> Option<SendRequest<Incoming>> {
        let mut idle = lock(&self.idle);
        let parked = idle.get_mut(&port)?;
        parked.retain(|idle| !idle.sender.is_closed());
        let ready = parked.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(parked.swap_remove(ready).sender)
    }

    fn park(&self, port: u16, sender: SendRequest<Incoming>) {
        if sender.is_closed() || self.route.ended.is_cancelled() {
            return;
        }
        let rest = if [ENVD_PORT, INTERPRETER_PORT].contains(&port) { OWN_IDLE } else { USER_IDLE };
        let mut idle = lock(&self.idle);
        let first = idle.is_empty();
        let parked = idle.entry(port).or_default();
        if parked.len() < MAX_IDLE {
            parked.push(Idle { sender, until: Instant::now() + rest });
        }
        if first {
            self.parked.notify_one();
        }
    }

    /// Drops what rested too long; when to look again, if anything rests.
    fn sweep(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        idle.retain(|_, parked| {
            parked.retain(|idle| idle.until > now && !idle.sender.is_closed());
            !parked.is_empty()
        });
        idle.values().flatten().map(|idle| idle.until).min()
    }
}

impl Lease {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection to the port, and whether it was used before. A used one is
    /// taken only if `may_reuse`.
    pub(crate) async fn connect(
        &mut self,
        options: &ProxyOptions,
        tasks: &TaskTracker,
        may_reuse: bool,
    ) -> Result<(&mut SendRequest<Incoming>, bool), Refusal> {
        let pooled = may_reuse.then(|| self.upstream.idle(self.port)).flatten();
        let reused = pooled.is_some();
        let sender = match pooled {
            Some(sender) => sender,
            None => self.fresh(options, tasks).await?,
        };
        Ok((self.sender.insert(sender), reused))
    }

    async fn fresh(
        &self,
        options: &ProxyOptions,
        tasks: &TaskTracker,
    ) -> Result<SendRequest<Incoming>, Refusal> {
        let stream = options.counts.counted(self.dial(options.dial_timeout).await?);
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| Refusal::NoAnswer)?;
        // The task ends when the sender is dropped and the exchange is over, or
        // when the sandbox ends, whichever is first.
        let ended = self.upstream.route.ended.clone().cancelled_owned();
        let connection = connection.with_upgrades();
        tasks.spawn(async move {
            tokio::select! {
                outcome = connection => tracing::trace!(?outcome, "a connection into a sandbox closed"),
                () = ended => {}
            }
        });
        Ok(sender)
    }

    async fn dial(&self, timeout: Duration) -> Result<Box<dyn crate::Connection>, Refusal> {
        let mut waits = BACK_OFF.iter();
        loop {
            let attempt = tokio::time::timeout(timeout, self.upstream.route.dial.dial(self.port)).await;
            match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(DialError::Gone)) => return Err(Refusal::NotFound(None)),
                Ok(Err(DialError::Closed(_))) => match waits.next() {
                    Some(wait) => tokio::time::sleep(*wait).await,
                    None => return Err(Refusal::PortClosed),
                },
                Ok(Err(error @ DialError::Io { .. })) => {
                    tracing::debug!(sandbox_id = %self.upstream.route.sandbox_id, ?error, "dialling failed");
                    return Err(Refusal::PortClosed);
                }
                Err(_elapsed) => return Err(Refusal::PortClosed),
            }
        }
    }

    /// The exchange is complete: the connection may carry another.
    pub(crate) fn finish(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.upstream.park(self.port, sender);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream.carried.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The rules: what may be asked, what is then done, and in which order.
//!
//! A file per noun. Everything that changes something writes its intent to the
//! store first and tells the node second; what the store and the node disagree
//! about is put right by `reconcile`.

mod account;
mod auth;
mod bootstrap;
mod build;
mod cache;
mod create;
mod deadline;
mod demand;
mod diff;
mod drain;
mod error;
mod event;
mod fork;
mod kill;
mod list;
mod log;
mod meter;
mod metrics;
mod once;
mod operator;
mod page;
mod pause;
mod publish;
mod rate;
mod read;
mod reconcile;
mod rollback;
mod secret;
mod session;
mod snapshot;
mod tag;
mod target;
mod team_metrics;
mod template;
mod token;
mod webhook;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use model::{BuildId, SandboxId};
use store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{AppOptions, NodePort};

pub(crate) use account::{Made, masked};
pub(crate) use auth::{Caller, Credentials};
pub use bootstrap::BootstrapKey;
pub(crate) use build::{BuildRequest, BuildStart, BuildStatusView, Requested, WHOLE_LOG};
pub(crate) use create::CreateCommand;
pub use demand::Demand;
pub use error::{Error, ErrorKind};
pub(crate) use list::{ListQuery, Listed};
pub(crate) use log::LogQuery;
pub(crate) use metrics::Sample;
pub(crate) use once::Once;
pub(crate) use operator::NodeView;
pub(crate) use page::{Key, Order, PageRequest};
pub(crate) use pause::PauseCommand;
pub use pause::{Knock, Woken};
pub use rate::RateLimit;
pub(crate) use rate::{Pace, route_shape};
pub(crate) use read::Live;
pub(crate) use secret::Kind;
pub(crate) use session::{Error as SessionError, Executed, Shown, target};
pub(crate) use snapshot::{NamedSnapshot, SnapshotQuery};
pub(crate) use team_metrics::{TeamMetric, shown};
pub(crate) use webhook::{Wanted, told};

/// The control plane. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: AppOptions,
    store: Store,
    node: Arc<dyn NodePort>,
    meter: meter::Meter,
    history: metrics::History,
    key_uses: auth::KeyUses,
    buckets: rate::Buckets,
    drained: drain::Drained,
    tails: log::Tails,
    bell: webhook::Bell,
    teams: team_metrics::Teams,
    /// The last run of each sandbox that was told of as resumed; forgotten with its end.
    told_resumes: Mutex<HashMap<SandboxId, model::Timestamp>>,
    /// What of the node's builds is in the store already.
    registered: Mutex<Vec<node::TemplateBuild>>,
    /// Creates and kills under way, and how many of each sandbox's: the
    /// reconciler leaves their rows alone.
    in_flight: Mutex<HashMap<SandboxId, usize>>,
    /// Builds on their way from the store to the node.
    starting: Mutex<HashSet<BuildId>>,
    sessions: Arc<session::Slots>,
    /// How far the server's own templates are, while some are being built.
    building: Mutex<Option<String>>,
    /// Those that are built only when somebody asks.
    demands: demand::Demands,
    /// Work that goes on when the client that asked for it has gone.
    tasks: TaskTracker,
}

impl App {
    /// Puts the control plane together. Nothing runs until [`run`](Self::run).
    pub fn new(mut options: AppOptions, store: Store, node: Arc<dyn NodePort>) -> Self {
        let limits = std::mem::take(&mut options.rate_limits);
        options.rate_limits = limits.into_iter().map(|(route, limit)| (route_shape(&route), limit)).collect();
        Self(Arc::new(Inner {
            options,
            store,
            node,
            meter: meter::Meter::default(),
            history: metrics::History::default(),
            key_uses: auth::KeyUses::default(),
            buckets: rate::Buckets::default(),
            drained: drain::Drained::default(),
            tails: log::Tails::default(),
            bell: webhook::Bell::default(),
            teams: team_metrics::Teams::default(),
            told_resumes: Mutex::default(),
            registered: Mutex::default(),
            in_flight: Mutex::default(),
            starting: Mutex::default(),
            sessions: Arc::default(),
            building: Mutex::default(),
            demands: demand::Demands::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Reconciles, samples and delivers until `stop`, then waits for creates, forks and
    /// kills under way, as long as the options say. What has not come to its end by
    /// then goes on as long as the process does; the next start mends the rest.
    pub async fn run(&self, stop: CancellationToken) {
        let background = async {
            let reconciling = self.reconcile_until(&stop);
            let sampling = self.sample_until(&stop);
            let delivering = self.deliver_until(&stop);
            tokio::join!(reconciling, sampling, delivering, self.drop_records_until(&stop));
        };
        let leaving = async {
            stop.cancelled().await;
            // Nothing more is begun from here on: not by a fork either, which has many to make.
            self.0.tasks.close();
            tokio::time::sleep(self.options().stop_limit).await;
        };
        let all = async {
            background.await;
            stop.cancelled().await;
            self.0.tasks.wait().await;
        };
        tokio::select! {
            biased;
            () = all => {}
            () = leaving => {
                tracing::warn!("creates, forks or kills are not done yet; what is not done at the end is mended by the next start");
            }
        }
    }

    /// Lets nothing new be started once the server is on its way down.
    fn refuse_if_leaving(&self) -> Result<(), Error> {
        let is_leaving = self.0.tasks.is_closed();
        if is_leaving { Err(Error::ShuttingDown(node::Error::ShuttingDown)) } else { Ok(()) }
    }

    /// Says how far the server's own templates are; `None` when all are there.
    /// Until then `GET /health` answers 503, and so does a create of a template
    /// that is not there; everything else works.
    pub fn say_building(&self, progress: Option<String>) {
        *self.0.building.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// What was last said about that.
    pub(crate) fn building(&self) -> Option<String> {
        self.0.building.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An answer was given.
    pub(crate) fn count_request(&self, method: &'static str, route: &str, status: u16) {
        self.0.meter.note_request(method, route, status);
    }

    pub(crate) fn options(&self) -> &AppOptions {
        &self.0.options
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn node(&self) -> &dyn NodePort {
        &*self.0.node
    }

    fn is_in_flight(&self, sandbox: &SandboxId) -> bool {
        self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner).contains_key(sandbox)
    }

    /// Keeps the reconciler off a sandbox until the guard is dropped.
    fn in_flight(&self, sandbox: SandboxId) -> InFlight {
        let mut in_flight = self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        *in_flight.entry(sandbox.clone()).or_default() += 1;
        InFlight { app: self.clone(), sandbox }
    }

    /// Runs work to its end even when the caller stops waiting for it.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        use tracing::Instrument as _;
        let task = self.0.tasks.spawn(work.in_current_span());
        task.await.unwrap_or_else(|panicked| Err(Error::Panicked(panicked)))
    }
}

struct InFlight {
    app: App,
    sandbox: SandboxId,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut in_flight = self.app.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = in_flight.get_mut(&self.sandbox) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.sandbox);
            }
        }
    }
}

/// Bytes from the kernel's random source.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes once it has started");
    bytes
}

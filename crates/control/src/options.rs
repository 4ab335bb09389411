//! Everything about the control plane that an operator can choose.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{ByteSize, SessionLimits, TemplateRef};

use crate::{Clock, Gauges, RateLimit};

/// The secret that tokens are derived from. Prints nothing of itself.
#[derive(Clone)]
pub struct Seed(Vec<u8>);

impl Seed {
    /// Takes the secret bytes; 32 random ones are enough.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// What becomes of a pause that asks for memory, where memory cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FullPause {
    /// It is refused: nobody loses a process unasked.
    #[default]
    Refuse,
    /// It keeps the files alone, and the sandbox says so.
    Files,
}

/// Options of the control plane; [`AppOptions::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct AppOptions {
    /// Secret that the tokens of sandboxes are derived from. It must stay the
    /// same as long as any sandbox lives.
    pub seed: Seed,
    /// Whether every call must carry a key. Where not (a server on loopback
    /// for one person), calls without a known key act for the default team.
    pub require_keys: bool,
    /// What the operator shows to be let through; `None` lets nobody through.
    pub admin_token: Option<Seed>,
    /// Base domain of sandboxes' host names, told to clients; `None` leaves it
    /// to their own configuration.
    pub domain: Option<String>,
    /// Sandboxes that a team without a limit of its own may have at a time.
    pub max_sandboxes: u64,
    /// How often a team may ask, by `METHOD /route` as the API document spells
    /// it (`POST /v2/sandboxes`); what is not named has no limit.
    pub rate_limits: BTreeMap<String, RateLimit>,
    /// The longest a sandbox may live, counted from its start.
    pub max_lifetime: Duration,
    /// How long the node may take to make a sandbox usable.
    pub create_limit: Duration,
    /// How long the node may take to remove one.
    pub kill_limit: Duration,
    /// How long a stop waits for creates, forks and kills under way.
    pub stop_limit: Duration,
    /// Whether a create waits for the code interpreter's default context too.
    pub wait_for_interpreter: bool,
    /// Template builds that a team may have under way at a time.
    pub max_builds: u64,
    /// How often the use of running sandboxes is sampled.
    pub sample_every: Duration,
    /// Where the logs of sandboxes are kept; `None` keeps none.
    pub logs: Option<store::Logs>,
    /// Where samples are kept; `None` keeps them in memory, of what runs.
    pub samples: Option<store::Samples>,
    /// How long the records of ended sandboxes, events, logs and samples are kept.
    pub keep_records: Duration,
    /// Sandboxes of web applications' sessions.
    pub session: SessionOptions,
    /// What becomes of a pause that asks for memory.
    pub full_pause: FullPause,
    /// Whether webhooks may lead into private networks and to this machine.
    pub private_webhooks: bool,
    /// What the operator's node is called.
    pub node_id: String,
    /// Measurements of other parts, shown beside the control plane's own.
    pub gauges: Option<Arc<dyn Gauges>>,
    /// Where the time comes from.
    pub clock: Clock,
}

/// Options of the session API.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// How long things may take.
    pub limits: SessionLimits,
    /// What a session's sandbox is made from.
    pub template: Option<TemplateRef>,
    /// What one of type `custom` is made from; `None` refuses that type.
    pub custom_template: Option<TemplateRef>,
    /// The largest file that an upload may bring.
    pub max_upload: ByteSize,
    /// What the URLs of artifacts begin with; `None` takes the request's host.
    pub public_url: Option<String>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            limits: SessionLimits {
                execution: Duration::from_mins(5),
                idle: Duration::from_mins(30),
                life: Duration::from_hours(1),
            },
            template: "code-interpreter-v1".parse().ok(),
            custom_template: None,
            max_upload: ByteSize::gib(1),
            public_url: None,
        }
    }
}

impl AppOptions {
    /// The defaults.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            require_keys: true,
            admin_token: None,
            domain: None,
            max_sandboxes: 1000,
            rate_limits: BTreeMap::new(),
            max_lifetime: Duration::from_hours(24),
            create_limit: Duration::from_mins(1),
            kill_limit: Duration::from_secs(30),
            stop_limit: Duration::from_secs(5),
            wait_for_interpreter: true,
            max_builds: 20,
            sample_every: Duration::from_secs(5),
            logs: None,
            samples: None,
            keep_records: Duration::from_hours(7 * 24),
            session: SessionOptions::default(),
            full_pause: FullPause::Refuse,
            private_webhooks: false,
            node_id: "local".to_owned(),
            gauges: None,
            clock: Clock::system(),
        }
    }
}

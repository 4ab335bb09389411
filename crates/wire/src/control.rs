//! Host ↔ guest control: HTTP/1.1 over a socket that only the host can reach.
//!
//! The guest daemon listens on an abstract Unix socket in the sandbox's network
//! namespace and answers only peers that are outside its pid namespace (their
//! pid reads as 0 in `SO_PEERCRED`). Changes are additive: a guest may be older
//! than the host that wakes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Name of the abstract socket, without the leading zero byte.
pub const SOCKET_NAME: &str = "warren-control";

/// Port of the daemon that the SDKs talk to.
pub const ENVD_PORT: u16 = 49983;

/// Port of the code interpreter.
pub const INTERPRETER_PORT: u16 = 49999;

/// The version that our daemon reports, in E2B's numbering: it decides which of
/// their features the SDKs use.
pub const ENVD_VERSION: &str = "0.6.4";

/// Where the guest's own layer holds the daemon, inside the root.
pub const GUEST_PATH: &str = "/usr/lib/warren/guest";

/// The flag, followed by a port of loopback, with which the daemon answers askers of
/// a trial of checkpoints: each gets a line `<name> <count>`, the name as long as the
/// process lives, the count one more for each.
pub const TRIAL_ARG: &str = "--trial-port";

/// `POST /init`: everything the daemon is told when a sandbox starts, and again
/// after each resume. A field left out keeps what was there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Init {
    /// The sandbox's id, for `E2B_SANDBOX_ID` and `/run/e2b`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// The template's id, for `E2B_TEMPLATE_ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// Replaces the default environment of processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_vars: Option<BTreeMap<String, String>>,
    /// Token that requests must carry; the empty string asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// User of processes when the caller names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_user: Option<String>,
    /// Directory of processes when the caller names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_workdir: Option<String>,
    /// How long a process waits for a subscriber of its output that takes nothing,
    /// before that one is cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_patience_ms: Option<u64>,
    /// What the sandbox may use, for the files that show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Extra certificate authorities (PEM) for the system bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// Whether to run the code interpreter service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<bool>,
    /// Present when the processes woke from a checkpoint: the one init after a
    /// restore carries it, beside whatever else is new (ids, token, variables).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub woken: Option<Woken>,
}

/// What has to differ between a sandbox and every other that woke from the same
/// checkpoint. The clock needs no mention: real time is the host's, and monotonic
/// time goes on where it stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Woken {
    /// What `/proc/sys/kernel/random/boot_id` shows from now on; empty, the old one
    /// stays, as for a sandbox that is the one that slept: nothing was booted.
    pub boot_id: String,
    /// A new `/etc/machine-id`, 32 hexadecimal digits, for a sandbox that is not the
    /// one that slept; absent, the old one stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// Whether the language kernels seed their generators anew before the next cell:
    /// for a sandbox that is not the one that slept. (The system's generator is the
    /// host's, and needs nothing.)
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reseed: bool,
}

/// The variable by which language kernels learn of a waking that reseeds.
pub const WAKING: &str = "WARREN_WAKING";

/// Limits as the guest shows them in `/proc/meminfo` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Processors that the sandbox may use.
    pub cpu_count: u32,
    /// Memory limit, in bytes.
    pub memory_bytes: u64,
    /// Disk limit, in bytes.
    pub disk_bytes: u64,
}

/// Answer of `POST /init`, `GET /status` and `POST /rest`. The last says that the
/// sandbox is about to be written down with its memory: what the daemon can make
/// again, and nobody uses, is ended before it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The daemon's version, in E2B's numbering (`envdVersion`).
    pub envd_version: String,
    /// Whether the interpreter's default context is ready; absent where no
    /// interpreter runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter_ready: Option<bool>,
    /// Processes that it saw end for want of memory, the oldest first; no more than
    /// a few, and no more certain than what can be seen from inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub oom_victims: Vec<OomVictim>,
}

/// A process that ended for want of memory, as the daemon saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OomVictim {
    /// Its id inside.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
    /// Whose it was.
    pub user: String,
    /// When its end was seen.
    pub at_micros: u64,
    /// Whether it was killed itself; else a child of it, of which no more is known.
    pub itself: bool,
}

/// How much an entry of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For those who look for the cause of something.
    Debug,
    /// Something happened as it should.
    Info,
    /// Something did not, and it went on.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// Its name on every wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl std::str::FromStr for LogLevel {
    type Err = ();

    /// In any case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Debug, Self::Info, Self::Warn, Self::Error];
        all.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// One entry of the daemon's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Counts up by one; a gap says how many were dropped.
    pub number: u64,
    /// When, in microseconds since 1970 by the guest's clock.
    pub at_micros: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// Which part tells it: `envd`, `process`, `interpreter`.
    pub logger: String,
    /// What happened.
    pub message: String,
    /// Facts about it.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
}

/// Answer of `GET /logs?from=N`: the entries from this number on, oldest first,
/// and where the next answer starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogPage {
    /// Tells the numbers of one daemon from those of another in the same sandbox.
    pub epoch: u64,
    /// Where to go on.
    pub next: u64,
    /// The entries.
    pub entries: Vec<LogEntry>,
}

//! What a node is asked and what it answers, as values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::{
    BuildId, EndCause, GenerationId, Isolation, OomVictim, Peaks, Policy, Resources, SandboxId, TemplateId,
    Timestamp,
};
use tokio_util::sync::CancellationToken;

/// A sandbox to be made.
#[derive(Clone)]
pub struct CreateSandbox {
    /// Its id, chosen by the caller.
    pub sandbox_id: SandboxId,
    /// For `E2B_TEMPLATE_ID` inside.
    pub template_id: TemplateId,
    /// The ready build it starts from.
    pub build_id: BuildId,
    /// What it may use.
    pub resources: Resources,
    /// Default environment of its processes.
    pub env_vars: BTreeMap<String, String>,
    /// Token that its daemon demands; `None` demands none.
    pub access_token: Option<String>,
    /// How long it lives, from the moment it is usable.
    pub timeout: std::time::Duration,
    /// Wait for the default interpreter context too, where the template has one.
    pub wait_for_interpreter: bool,
    /// What happens to it by itself.
    pub policy: Policy,
    /// The state it begins with, instead of the build's.
    pub from: Option<GenerationId>,
}

/// What a sandbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A client's.
    Client,
    /// A step of a template build: out of everybody's view, never adopted.
    Build,
}

/// Where a sandbox stands, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// On its way up.
    Starting,
    /// Usable.
    Running,
    /// On its way to sleep.
    Pausing,
    /// Only its state on disk: no process, no memory, no slot.
    Paused,
    /// On its way back up.
    Resuming,
    /// On its way out.
    Ending,
}

impl Phase {
    /// Whether it runs or sleeps, or is on its way from one to the other.
    pub const fn stands(self) -> bool {
        matches!(self, Self::Running | Self::Pausing | Self::Paused | Self::Resuming)
    }
}

/// One sandbox as its driver last published it.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Which one.
    pub sandbox_id: SandboxId,
    /// Where it stands.
    pub phase: Phase,
    /// The moment it became usable.
    pub started_at: Timestamp,
    /// When its time is up; while it is paused, the moment of the pause.
    pub deadline: Timestamp,
    /// How long it lives from each start, as last asked for.
    pub timeout: std::time::Duration,
    /// What happens to it by itself.
    pub policy: Policy,
    /// While it is paused: whether its processes go on when it is resumed.
    pub keeps_memory: bool,
    /// While it is paused: its daemon did not answer when it was.
    pub unresponsive_at_pause: bool,
    /// Whether its state is being written down while it stands; its phase is that of
    /// one that runs.
    pub is_snapshotting: bool,
    /// Which barrier holds.
    pub isolation: Isolation,
    /// The build it was started from.
    pub build_id: BuildId,
    /// Version of the daemon inside.
    pub envd_version: String,
    /// Grows with each change of this sandbox.
    pub generation: u64,
}

/// The record a sandbox leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub sandbox_id: SandboxId,
    /// Why.
    pub cause: EndCause,
    /// When it became usable; `None` if it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The most it used.
    pub peaks: Peaks,
    /// Processes that the kernel ended for want of memory, as far as they are
    /// known: the last few, the oldest first.
    pub oom_victims: Vec<OomVictim>,
}

/// A build of a template that is ready on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateBuild {
    /// The template.
    pub template_id: TemplateId,
    /// The build.
    pub build_id: BuildId,
    /// Names that lead to it everywhere (`base`, …).
    pub aliases: Vec<String>,
    /// Whether a client ordered it; else it comes with the server.
    pub client: bool,
    /// Whether it is a snapshot of a sandbox.
    pub snapshot: bool,
    /// What its sandboxes may use.
    pub resources: Resources,
    /// Version of the daemon its sandboxes run.
    pub envd_version: String,
    /// When it became ready.
    pub created_at: Timestamp,
}

/// How to reach the ports of one running sandbox.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Another machine behind the same id has another generation; pooled
    /// connections of one are never used for the other.
    pub generation: u64,
    /// Opens connections.
    pub dial: Arc<dyn runtime::Dial>,
    /// Cancelled when the sandbox ends: connections to it are to be reset then.
    pub ended: CancellationToken,
    /// What its daemon demands.
    pub(crate) token: Option<Token>,
}

/// A sandbox's token. Prints nothing.
#[derive(Clone)]
pub(crate) struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Without the token and the variables, which may hold secrets.
impl fmt::Debug for CreateSandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSandbox")
            .field("sandbox_id", &self.sandbox_id)
            .field("build_id", &self.build_id)
            .field("resources", &self.resources)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

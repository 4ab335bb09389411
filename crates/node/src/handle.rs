//! What a node is asked and what it answers.
//!
//! The methods of the handle (implemented beside the drivers):
//!
//! ```text
//! async fn create(&self, CreateSandbox) -> Result<Observation, Error>   // after the guest answered its init
//! async fn kill(&self, &SandboxId, KilledBy) -> Result<Ended, Error>    // waits until everything is removed from view
//! async fn set_deadline(&self, &SandboxId, Timestamp) -> Result<Observation, Error>
//! fn get(&self, &SandboxId) -> Option<Observation>                      // memory only
//! fn list(&self) -> Vec<Observation>
//! fn observe(&self) -> watch::Receiver<u64>                             // a generation: something changed; then list()
//! fn dialer(&self, &SandboxId) -> Option<Reach>                         // generation, Arc<dyn runtime::Dial>, ended token
//! fn ended(&self, &SandboxId) -> Option<Ended>                          // recent end records, from disk after a restart
//! async fn metrics(&self, &SandboxId) -> Result<Usage, Error>
//! fn templates(&self) -> Vec<TemplateBuild>                             // ready builds on this node's disk
//! ```

use std::collections::BTreeMap;

use model::{BuildId, EndCause, Isolation, Peaks, Resources, SandboxId, TemplateId, Timestamp};

/// A sandbox to be made.
#[derive(Debug, Clone)]
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
}

/// Where a sandbox stands, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// On its way up.
    Starting,
    /// Usable.
    Running,
    /// On its way out.
    Ending,
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
    /// When it will be ended.
    pub deadline: Timestamp,
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
    /// What its sandboxes may use.
    pub resources: Resources,
    /// Version of the daemon its sandboxes run.
    pub envd_version: String,
    /// When it became ready.
    pub created_at: Timestamp,
}

/// Why a node did not do what it was asked. Nothing was changed unless the
/// variant says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such sandbox here.
    #[error("sandbox {0} is not on this node")]
    NotFound(SandboxId),
    /// It is on its way out.
    #[error("sandbox {0} is being killed")]
    Ending(SandboxId),
    /// The id is taken.
    #[error("sandbox {0} exists already")]
    Exists(SandboxId),
    /// No such build on this node.
    #[error("build {0} is not on this node")]
    UnknownBuild(BuildId),
    /// Admission: the host is full; nothing was started.
    #[error("no room for {what}: {wanted} wanted, {free} free")]
    Exhausted {
        /// `memory`, `disk` or `slots`.
        what: &'static str,
        /// In its unit.
        wanted: String,
        /// In its unit.
        free: String,
    },
    /// A start step failed; everything was undone.
    #[error("starting sandbox {sandbox_id}: {step}")]
    Start {
        /// Which sandbox.
        sandbox_id: SandboxId,
        /// Which step, in words.
        step: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The node is shutting down; nothing was started.
    #[error("the node is shutting down")]
    ShuttingDown,
}

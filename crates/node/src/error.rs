//! Why a node refuses or fails.

use model::admission::Shortage;
use model::{BuildId, GenerationId, SandboxId};

use crate::disk;

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
    /// Whoever asked for it took that back before it began; nothing of it is left.
    #[error("sandbox {0} was not approved")]
    Withdrawn(SandboxId),
    /// It has no processes now.
    #[error("sandbox {0} is paused")]
    Paused(SandboxId),
    /// Its state is being written down, for a snapshot or a fork.
    #[error("sandbox {0} is being snapshotted")]
    Snapshotting(SandboxId),
    /// Its daemon does not answer; it goes on as it was.
    #[error("the daemon of sandbox {0} does not answer")]
    Unresponsive(SandboxId),
    /// Its state could not be written down; it goes on as it was.
    #[error("keeping the state of sandbox {sandbox_id}")]
    Checkpoint {
        /// Which sandbox.
        sandbox_id: SandboxId,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its daemon did not answer when it was paused, and would not now.
    #[error("the daemon of sandbox {0} did not answer when it was paused")]
    WasUnresponsive(SandboxId),
    /// The state is that of another sandbox, or gone.
    #[error("there is no such state of sandbox {0}")]
    NoState(SandboxId),
    /// It could not be woken; it is paused as before, nothing of it is lost.
    #[error("resuming sandbox {sandbox_id}: {step}")]
    Resume {
        /// Which sandbox.
        sandbox_id: SandboxId,
        /// Which step, in words.
        step: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
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
    /// A disk of the host has no room; what was started is undone, what ran goes on.
    #[error("{what} of sandbox {sandbox_id}: {why}")]
    DiskFull {
        /// Which sandbox.
        sandbox_id: SandboxId,
        /// What failed, in words.
        what: &'static str,
        /// The causes on one line; they name the file.
        why: String,
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
    /// The host failed; the sandbox goes on as it was.
    #[error("{what} of sandbox {sandbox_id}")]
    Host {
        /// Which sandbox.
        sandbox_id: SandboxId,
        /// What failed, in words.
        what: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A state that was written down cannot be read.
    #[error("reading generation {generation}")]
    State {
        /// Which one.
        generation: GenerationId,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two states were not compared.
    #[error("comparing the files of two states: {0}")]
    Incomparable(#[source] crate::DiffError),
    /// The files of a build cannot be used.
    #[error("keeping build {build_id}")]
    Build {
        /// Which build.
        build_id: BuildId,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer was damaged and set aside; nothing was started.
    #[error("the layer {layer} of template {template} is damaged or gone: build the template again")]
    NoLayer {
        /// Which template.
        template: String,
        /// Its layer.
        layer: String,
    },
    /// The cache of build steps cannot be used.
    #[error("using the cache of build steps")]
    Cache {
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The node is shutting down; nothing was started.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// What an error means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What is named does not exist here.
    NotFound,
    /// The state of the sandbox forbids it.
    Conflict,
    /// The host is full.
    Exhausted,
    /// Not now.
    Unavailable,
    /// The host or this server failed.
    Bug,
}

impl Error {
    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::UnknownBuild(_) | Self::NoState(_) => ErrorKind::NotFound,
            Self::NoLayer { .. }
            | Self::Ending(_)
            | Self::Withdrawn(_)
            | Self::Exists(_)
            | Self::Paused(_)
            | Self::Snapshotting(_)
            | Self::WasUnresponsive(_) => ErrorKind::Conflict,
            Self::Exhausted { .. } | Self::DiskFull { .. } => ErrorKind::Exhausted,
            Self::ShuttingDown | Self::Unresponsive(_) => ErrorKind::Unavailable,
            Self::Start { .. }
            | Self::Resume { .. }
            | Self::Checkpoint { .. }
            | Self::State { .. }
            | Self::Incomparable(_)
            | Self::Host { .. }
            | Self::Build { .. }
            | Self::Cache { .. } => ErrorKind::Bug,
        }
    }

    /// A failure of the host about a sandbox that goes on.
    pub(crate) fn host(
        sandbox_id: SandboxId,
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        if disk::is_full(&*source) {
            let why = chain(&*source);
            return Self::DiskFull { sandbox_id, what, why };
        }
        Self::Host { sandbox_id, what, source }
    }

    /// The refusal of an admission.
    pub(crate) fn exhausted(shortage: Shortage) -> Self {
        match shortage {
            Shortage::Slots(slots) => {
                Self::Exhausted { what: "slots", wanted: "1".to_owned(), free: format!("0 of {slots}") }
            }
            Shortage::Memory { wanted, free } => {
                Self::Exhausted { what: "memory", wanted: wanted.to_string(), free: free.to_string() }
            }
            Shortage::Disk { wanted, free } => {
                Self::Exhausted { what: "disk", wanted: wanted.to_string(), free: free.to_string() }
            }
        }
    }
}

/// An error with its causes on one line: for logs, and for callers, while whoever failed
/// still needs its own.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

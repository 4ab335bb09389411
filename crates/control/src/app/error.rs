//! Why the control plane refused or failed.

use std::time::Duration;

use model::{EndCause, SandboxId, Timestamp};

/// What a failure means for whoever asked; `api/error.rs` turns it into a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself is at fault.
    Refused,
    /// Nobody we know asked.
    Unauthenticated,
    /// Known, but not allowed.
    Forbidden,
    /// There is no such thing, or none that the caller may see.
    NotFound,
    /// Not in its present state.
    Conflict,
    /// It contradicts an earlier request.
    Contradiction,
    /// A limit of the caller's is reached.
    Limited,
    /// The host is full or busy; nothing was changed.
    Unavailable,
    /// Not yet: the server is still getting ready.
    NotReady,
    /// The operator has taken the host out of service.
    Drained,
    /// A disk of the server is full; nothing was changed.
    DiskFull,
    /// It took too long and was undone.
    TimedOut,
    /// Not built in this version.
    NotBuilt,
    /// A mistake of ours, or of the host's.
    Bug,
}

/// Why the control plane refused or failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is at fault; the text says where.
    #[error("{0}")]
    Refused(String),
    /// No key was given.
    #[error("authorization header is missing: set the X-API-Key header (E2B_API_KEY)")]
    KeyMissing,
    /// What was given is no key.
    #[error(
        "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\n\
         Invalid API key format"
    )]
    KeyMalformed,
    /// The key is nobody's.
    #[error(
        "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\n\
         Cannot get the team for the given API key"
    )]
    KeyUnknown,
    /// A person's token was not given.
    #[error(
        "authorization header is missing: send 'Authorization: Bearer' with a person's access token; an API key is a team's"
    )]
    TokenMissing,
    /// The access token is nobody's.
    #[error("the access token is not valid; it may have been revoked")]
    TokenUnknown,
    /// The operator's token was not given.
    #[error("authorization header is missing: set the X-Admin-Token header")]
    AdminTokenMissing,
    /// What was given is not the operator's token.
    #[error("the admin token is not valid")]
    AdminTokenUnknown,
    /// An API key asked for what only a person or the operator may.
    #[error("an API key cannot manage keys: use an access token or the admin token")]
    KeyCannotManage,
    /// The host does not tell what it has.
    #[error("the host does not tell what it has")]
    Host(#[source] std::io::Error),
    /// Whoever asks may not.
    #[error("{0}")]
    Forbidden(String),
    /// No such thing, or another team's.
    #[error("{what} '{id}' not found")]
    NoSuch {
        /// What was asked for.
        what: &'static str,
        /// By which id.
        id: String,
    },
    /// The name is somebody else's.
    #[error("{0}")]
    Taken(String),
    /// No such sandbox, or another team's.
    #[error("Sandbox \"{0}\" doesn't exist or you don't have access to it")]
    NoSandbox(SandboxId),
    /// It did exist.
    #[error(
        "Sandbox \"{sandbox_id}\" doesn't exist or you don't have access to it. It ended at {}: {}.",
        wire::rest::Rfc3339::from_unix_micros(.ended_at.unix_micros()), .cause.sentence()
    )]
    SandboxEnded {
        /// Which one.
        sandbox_id: SandboxId,
        /// Why.
        cause: EndCause,
        /// When.
        ended_at: Timestamp,
    },
    /// It is on its way out.
    #[error("Sandbox \"{0}\" is being killed")]
    SandboxEnding(SandboxId),
    /// It is on its way to or from sleep.
    #[error("Sandbox \"{0}\" is being paused or resumed")]
    SandboxMoving(SandboxId),
    /// Its state is being written down.
    #[error("Sandbox \"{0}\" is being snapshotted")]
    Snapshotting(SandboxId),
    /// It sleeps already.
    #[error("Error pausing sandbox - sandbox '{0}' is already paused")]
    AlreadyPaused(SandboxId),
    /// It runs already.
    #[error("Sandbox {0} is already running")]
    AlreadyRunning(SandboxId),
    /// Its daemon is stuck; it goes on as it was.
    #[error("Sandbox \"{0}\" was not paused: its daemon does not answer")]
    Unresponsive(SandboxId),
    /// It could not be woken; it sleeps on with all its files.
    #[error("Failed to resume sandbox: {}", chain(.0))]
    ResumeFailed(#[source] node::Error),
    /// It was not usable in time; it sleeps on, or wakes yet.
    #[error("Sandbox \"{0}\" takes longer than usual to pause or resume")]
    MoveTimedOut(SandboxId),
    /// A pause that would keep the memory of processes.
    #[error(
        "{what} is not supported by this server: it cannot keep the memory of processes ({why}). \
         Ask for files alone with {instead} (mode \"filesystem\" in the SDKs)"
    )]
    NoMemory {
        /// What was asked for.
        what: &'static str,
        /// What to ask for.
        instead: &'static str,
        /// Why it cannot.
        why: String,
    },
    /// A fork of one that sleeps.
    #[error("sandbox '{0}' is paused and cannot be forked; resume it first")]
    PausedFork(SandboxId),
    /// Its state could not be kept; it goes on as it was.
    #[error("Failed to keep the state of the sandbox, which goes on as it was: {}", chain(.0))]
    NotKept(#[source] node::Error),
    /// Its daemon did not answer when it was paused with its memory.
    #[error(
        "Sandbox \"{0}\" was paused while its daemon did not answer. Resume it from its files instead \
         (memory: false; on_resume \"reboot\" in the SDKs)"
    )]
    WasUnresponsive(SandboxId),
    /// No such template, or another team's.
    #[error("template '{0}' not found")]
    NoTemplate(String),
    /// No such template, while the server still builds its own.
    #[error("template '{template}' is not here yet: this server is building its templates ({progress})")]
    Building {
        /// What was asked for.
        template: String,
        /// How far it is, in words.
        progress: String,
    },
    /// No such template yet: it is one that is built when somebody asks for it.
    #[error("template '{template}' is built on demand, which takes some minutes: {progress}")]
    OnDemand {
        /// What was asked for.
        template: String,
        /// How far it is, in words.
        progress: String,
    },
    /// The template has no such tag.
    #[error("tag '{tag}' does not exist for template '{template}'")]
    NoTag {
        /// The tag or build that was asked for.
        tag: String,
        /// Of which template.
        template: String,
    },
    /// The template is another's.
    #[error("template '{0}' is not yours to change")]
    NotYours(String),
    /// Sandboxes stand on the template.
    #[error("cannot delete template '{template}' because there are {by} sandboxes using it")]
    TemplateInUse {
        /// Its id.
        template: String,
        /// What kind of sandboxes.
        by: &'static str,
    },
    /// No such build of that template.
    #[error("Build '{0}' not found")]
    NoBuild(model::BuildId),
    /// No such step in the cache.
    #[error("the cache has no step '{0}'")]
    NoStep(String),
    /// The build has ended.
    #[error("the build has ended")]
    BuildEnded,
    /// The build has begun or ended.
    #[error("build is not in waiting state")]
    BuildNotWaiting,
    /// The name is a template's id.
    #[error("alias '{0}' is the id of a template")]
    NameIsId(String),
    /// The team has as many builds under way as it may.
    #[error("you have reached the maximum number of concurrent template builds ({0})")]
    TooManyBuilds(u64),
    /// The team has as many sandboxes as it may.
    #[error(
        "you have reached the maximum number of concurrent E2B sandboxes ({0}). \
         Kill one that is not needed, or ask the operator of this server for a higher limit."
    )]
    TooManySandboxes(u64),
    /// The host is full; nothing was started.
    #[error("Failed to place sandbox: {0}")]
    NoRoom(#[source] node::Error),
    /// A layer of the template was damaged.
    #[error("{0}")]
    NoLayer(node::Error),
    /// The node is on its way down.
    #[error("Failed to place sandbox: {0}")]
    ShuttingDown(#[source] node::Error),
    /// The operator has drained the node.
    #[error(
        "Failed to place sandbox: the operator has drained this node; what runs there runs on, nothing new is taken"
    )]
    Drained,
    /// It did not become usable in time, and was removed.
    #[error("Failed to place sandbox: it was not usable within {} s and was removed", .0.as_secs())]
    CreateTimedOut(Duration),
    /// It could not be started, and was removed.
    #[error("Failed to start sandbox: {}", chain(.0))]
    StartFailed(#[source] node::Error),
    /// It was killed while it started.
    #[error("Sandbox \"{0}\" was killed before it was usable")]
    KilledAtStart(SandboxId),
    /// The node did not end it in time; it is still being worked on.
    #[error("Sandbox \"{0}\" is being killed, which takes longer than usual")]
    KillTimedOut(SandboxId),
    /// The key came with another request before.
    #[error("the idempotency key '{0}' was used with another request")]
    KeyOfAnotherRequest(String),
    /// The first request with the key is under way.
    #[error("a request with the idempotency key '{0}' is in progress")]
    KeyInProgress(String),
    /// The server was restarted while the first request was under way.
    #[error("what came of the first request with the idempotency key '{0}' is not known; try again soon")]
    KeyOutcomeUnknown(String),
    /// A field or route of the protocol that this version does not have.
    #[error("{0} not supported by this server yet")]
    NotBuilt(String),
    /// The node failed.
    #[error("the node failed")]
    Node(#[source] node::Error),
    /// A disk of the node is full: what was asked for was not done, or undone.
    #[error("a disk of this server is full: {0}")]
    DiskFull(#[source] node::Error),
    /// The disk under the database is full; what was asked for was not done.
    #[error(
        "the disk that holds this server's database (its state directory) is full, so nothing was changed; \
         killing sandboxes still works and makes room"
    )]
    DatabaseFull(#[source] store::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] store::Error),
    /// No message can be sent with TLS.
    #[error("reading the system's certificate authorities")]
    Authorities(#[source] std::io::Error),
    /// A task of ours panicked.
    #[error("internal failure")]
    Panicked(#[source] tokio::task::JoinError),
}

/// A failed start is the user's business too (a full disk, a broken template):
/// they get the whole chain.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error.kind() {
            store::ErrorKind::Exhausted => Self::DatabaseFull(error),
            _ => Self::Store(error),
        }
    }
}

impl Error {
    /// A failure of the node that says nothing about the request.
    pub(crate) fn of_node(error: node::Error) -> Self {
        match error {
            node::Error::DiskFull { .. } => Self::DiskFull(error),
            other => Self::Node(other),
        }
    }

    /// What it means for whoever asked.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(_)
            | Self::TemplateInUse { .. }
            | Self::NoBuild(_)
            | Self::BuildNotWaiting
            | Self::BuildEnded => ErrorKind::Refused,
            Self::KeyMissing
            | Self::TokenMissing
            | Self::KeyMalformed
            | Self::KeyUnknown
            | Self::TokenUnknown
            | Self::AdminTokenMissing
            | Self::AdminTokenUnknown
            | Self::KeyCannotManage => ErrorKind::Unauthenticated,
            Self::Forbidden(_) | Self::NotYours(_) => ErrorKind::Forbidden,
            Self::NoSuch { .. }
            | Self::NoSandbox(_)
            | Self::SandboxEnded { .. }
            | Self::NoTemplate(_)
            | Self::NoStep(_)
            | Self::NoTag { .. } => ErrorKind::NotFound,
            Self::Building { .. } | Self::OnDemand { .. } => ErrorKind::NotReady,
            Self::Drained => ErrorKind::Drained,
            Self::SandboxEnding(_)
            | Self::NameIsId(_)
            | Self::SandboxMoving(_)
            | Self::Snapshotting(_)
            | Self::AlreadyPaused(_)
            | Self::PausedFork(_)
            | Self::WasUnresponsive(_)
            | Self::AlreadyRunning(_)
            | Self::Taken(_)
            | Self::NoLayer(_)
            | Self::KilledAtStart(_)
            | Self::KeyInProgress(_)
            | Self::KeyOutcomeUnknown(_) => ErrorKind::Conflict,
            Self::KeyOfAnotherRequest(_) => ErrorKind::Contradiction,
            Self::TooManySandboxes(_) | Self::TooManyBuilds(_) => ErrorKind::Limited,
            Self::DiskFull(_) | Self::DatabaseFull(_) => ErrorKind::DiskFull,
            Self::NoRoom(_) | Self::ShuttingDown(_) | Self::Unresponsive(_) => ErrorKind::Unavailable,
            Self::CreateTimedOut(_) | Self::KillTimedOut(_) | Self::MoveTimedOut(_) => ErrorKind::TimedOut,
            Self::NotBuilt(_) | Self::NoMemory { .. } => ErrorKind::NotBuilt,
            Self::Store(error) => match error.kind() {
                store::ErrorKind::Unavailable => ErrorKind::Unavailable,
                store::ErrorKind::Exhausted | store::ErrorKind::Bug => ErrorKind::Bug,
            },
            Self::StartFailed(_)
            | Self::ResumeFailed(_)
            | Self::NotKept(_)
            | Self::Node(_)
            | Self::Panicked(_)
            | Self::Host(_)
            | Self::Authorities(_) => ErrorKind::Bug,
        }
    }

    /// A name for programs, where the protocol has one.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::NoRoom(_) | Self::Drained => Some("sandbox_capacity_unavailable"),
            Self::CreateTimedOut(_) => Some("sandbox_placement_timeout"),
            Self::StartFailed(_) => Some("sandbox_create_failed"),
            Self::KeyOfAnotherRequest(_) => Some("idempotency_request_mismatch"),
            Self::KeyInProgress(_) => Some("idempotency_in_progress"),
            Self::KeyOutcomeUnknown(_) => Some("idempotency_outcome_unknown"),
            Self::WasUnresponsive(_) => Some("sandbox_snapshot_guest_agent_unresponsive"),
            Self::DiskFull(_) | Self::DatabaseFull(_) => Some("disk_full"),
            Self::Node(_) | Self::Store(_) | Self::Panicked(_) | Self::Authorities(_) => {
                Some("internal_server_error")
            }
            _ => None,
        }
    }
}

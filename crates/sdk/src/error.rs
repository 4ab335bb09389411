//! One error type; its kinds are the exception classes of the official SDKs.

use std::fmt;

use wire::connect::Code;

/// What a failure means; the names follow the official SDKs' exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No key, or one that the server does not know.
    Authentication,
    /// An argument that can never work.
    InvalidArgument,
    /// The thing named does not exist.
    NotFound,
    /// The sandbox does not exist.
    SandboxNotFound,
    /// A file or directory does not exist.
    FileNotFound,
    /// The sandbox was killed or reached its end of life.
    SandboxNotRunning,
    /// The sandbox runs but did not answer.
    SandboxUnreachable,
    /// The thing to be made is there already.
    AlreadyExists,
    /// A deadline passed.
    Timeout,
    /// A limit was reached; later it may work.
    RateLimit,
    /// The server is busy and changed nothing.
    ServiceBusy,
    /// The sandbox's disk is full.
    NotEnoughSpace,
    /// A command ended with another status than 0.
    CommandExit,
    /// Anything else that the server or the sandbox said.
    Sandbox,
}

/// A call failed. The text says what happened and, where something helps, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: None, source: None }
    }

    pub(crate) fn authentication(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Authentication, message)
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { source: Some(source.into()), ..Self::new(kind, message) }
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status, when the server answered with one.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The same error under another kind: a call may know better what was not found.
    pub(crate) fn refine(mut self, from: ErrorKind, to: ErrorKind) -> Self {
        if self.kind == from {
            self.kind = to;
        }
        self
    }

    /// From an answer of the control plane, the proxy or a plain route of the daemon.
    pub(crate) fn from_status(status: u16, message: &str) -> Self {
        let kind = match status {
            400 => ErrorKind::InvalidArgument,
            401 => ErrorKind::Authentication,
            404 => ErrorKind::NotFound,
            408 | 504 => ErrorKind::Timeout,
            429 => ErrorKind::RateLimit,
            502 if message.contains("was not found") => ErrorKind::SandboxNotRunning,
            502 => ErrorKind::SandboxUnreachable,
            503 => ErrorKind::ServiceBusy,
            507 => ErrorKind::NotEnoughSpace,
            _ => ErrorKind::Sandbox,
        };
        Self { status: Some(status), ..Self::new(kind, format!("{status}: {message}{}", advice(kind))) }
    }

    /// From an error of the daemon's services.
    pub(crate) fn from_connect(error: &wire::connect::Error) -> Self {
        let kind = match error.code {
            Code::InvalidArgument => ErrorKind::InvalidArgument,
            Code::Unauthenticated => ErrorKind::Authentication,
            Code::NotFound => ErrorKind::NotFound,
            Code::AlreadyExists => ErrorKind::AlreadyExists,
            Code::ResourceExhausted => ErrorKind::RateLimit,
            Code::Canceled | Code::DeadlineExceeded => ErrorKind::Timeout,
            Code::Unavailable if error.message.contains("was not found") => ErrorKind::SandboxNotRunning,
            Code::Unavailable => ErrorKind::SandboxUnreachable,
            _ => ErrorKind::Sandbox,
        };
        Self::new(kind, format!("{error}{}", advice(kind)))
    }
}

/// What to do about it, appended to the message.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication => " (check E2B_API_KEY)",
        ErrorKind::SandboxNotRunning => {
            " (the sandbox was killed or reached its end of life: create one with a longer timeout)"
        }
        ErrorKind::SandboxUnreachable => " (is the program in the sandbox listening?)",
        ErrorKind::Timeout => " (raise the timeout of the call)",
        ErrorKind::NotEnoughSpace => " (remove files or use a template with more disk)",
        _ => "",
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

//! One error type; its kinds are the exception classes of the official SDKs.

use std::fmt;

use wire::connect::Code;

use crate::CommandOutput;

/// What a failure means; the names follow the official SDKs' exceptions
/// (`SandboxNotFound` is their `SandboxNotFoundException`).
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
    /// The sandbox's daemon had stopped answering when it was paused.
    GuestUnresponsive,
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
    /// A remote repository refused the credentials, or asked for some.
    GitAuth,
    /// The branch follows no remote branch.
    GitUpstream,
    /// A template's name or tag does not do.
    Template,
    /// A template's build failed.
    Build,
    /// A file of a template could not be sent.
    FileUpload,
    /// A call about volumes failed.
    Volume,
    /// The volume does not exist.
    VolumeNotFound,
    /// A path does not exist in the volume.
    VolumePathNotFound,
    /// A call about secrets failed.
    Secret,
    /// The secret does not exist.
    SecretNotFound,
    /// The pool or the service was closed.
    Closed,
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
    code: Option<String>,
    output: Option<Box<CommandOutput>>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: None, code: None, output: None, source: None }
    }

    pub(crate) fn authentication(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Authentication, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { source: Some(source.into()), ..Self::new(kind, message) }
    }

    /// A command that ended with another status than 0.
    pub(crate) fn exit(output: CommandOutput) -> Self {
        let words = output.error.as_deref().unwrap_or("it failed");
        let last = output.stderr.lines().last().unwrap_or_default();
        let message = format!("command: {words}: {last}");
        Self { output: Some(Box::new(output)), ..Self::new(ErrorKind::CommandExit, message) }
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status, when the server answered with one.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The server's own word for the case, such as `sandbox_start_in_flight`.
    pub fn error_code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// What the command wrote and how it ended, of kind [`ErrorKind::CommandExit`].
    pub fn output(&self) -> Option<&CommandOutput> {
        self.output.as_deref()
    }

    /// The same error under another kind: a call may know better what was not found.
    pub(crate) fn refine(mut self, from: ErrorKind, to: ErrorKind) -> Self {
        if self.kind == from {
            self.kind = to;
        }
        self
    }

    /// The same error for a family of calls whose other failures have a kind of
    /// their own: what is neither about keys, limits nor load becomes `family`.
    pub(crate) fn of_family(mut self, family: ErrorKind) -> Self {
        use ErrorKind::{InvalidArgument, NotFound, Sandbox};
        if matches!(self.kind, InvalidArgument | NotFound | Sandbox) && self.status.is_some() {
            self.kind = family;
        }
        self
    }

    /// From an answer of the control plane, the proxy or a plain route of the daemon.
    pub(crate) fn from_status(status: u16, message: &str, error_code: Option<String>) -> Self {
        let kind = match status {
            _ if error_code.as_deref() == Some("sandbox_snapshot_guest_agent_unresponsive") => {
                ErrorKind::GuestUnresponsive
            }
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
        let error = Self::new(kind, format!("{status}: {message}{}", advice(kind)));
        Self { status: Some(status), code: error_code, ..error }
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
        ErrorKind::GuestUnresponsive => " (connect with `reboot` to start it from its disk alone)",
        ErrorKind::Timeout => " (raise the timeout of the call)",
        ErrorKind::RateLimit => " (wait, or end sandboxes that are not needed)",
        ErrorKind::ServiceBusy => " (nothing was changed: try again)",
        ErrorKind::NotEnoughSpace => " (remove files or use a template with more disk)",
        _ => "",
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_kinds_of_the_official_exceptions() {
        let kind = |status, message: &str| Error::from_status(status, message, None).kind();
        assert_eq!(kind(401, "no"), ErrorKind::Authentication);
        assert_eq!(kind(429, "slow down"), ErrorKind::RateLimit);
        assert_eq!(kind(502, "The sandbox was not found"), ErrorKind::SandboxNotRunning);
        assert_eq!(kind(502, "The sandbox is running but port is not open"), ErrorKind::SandboxUnreachable);
        assert_eq!(kind(503, "busy"), ErrorKind::ServiceBusy);
        assert_eq!(kind(507, "full"), ErrorKind::NotEnoughSpace);
        let code = "sandbox_snapshot_guest_agent_unresponsive".to_owned();
        let stuck = Error::from_status(409, "no answer", Some(code));
        assert_eq!(stuck.kind(), ErrorKind::GuestUnresponsive);
        assert!(stuck.to_string().contains("reboot"), "{stuck}");
    }

    #[test]
    fn a_family_keeps_what_is_about_keys_and_limits() {
        let of = |status| Error::from_status(status, "x", None).of_family(ErrorKind::Volume).kind();
        assert_eq!([of(400), of(404), of(500)], [ErrorKind::Volume; 3]);
        assert_eq!(of(401), ErrorKind::Authentication);
        assert_eq!(of(429), ErrorKind::RateLimit);
    }
}

//! Why a session's call was refused or failed.

use std::time::Duration;

use model::SessionId;

use crate::{app, inside};

/// Why a session's call was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A rule that holds for every sandbox.
    #[error(transparent)]
    App(#[from] app::Error),
    /// The request is at fault; the text names the field.
    #[error("{0}")]
    Refused(String),
    /// The session has no sandbox.
    #[error("session_id not found: {0}")]
    NoSandbox(SessionId),
    /// There is no such file or directory.
    #[error("file not found: {0}")]
    NoFile(String),
    /// The upload is larger than it may be.
    #[error("file is larger than {0} MiB, the upload limit of this server")]
    TooLarge(u64),
    /// It took longer than it may, and was interrupted.
    #[error("execution passed the limit of {} s and was interrupted", .0.as_secs_f64())]
    TooLong(Duration),
    /// The template has no code interpreter.
    #[error("the sandbox has no code interpreter: its template needs one to execute code")]
    NoInterpreter,
    /// The sandbox ended meanwhile.
    #[error("the sandbox ended during the call ({0}); the next call starts another one")]
    Ended(String),
    /// The inside did not do what it should.
    #[error("the sandbox failed: {0}")]
    Inside(#[source] inside::Error),
}

//! Connect's error codes, their HTTP statuses, and the two JSON forms of an error.

use serde::{Deserialize, Serialize};

/// What went wrong, in Connect's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The caller gave up.
    Canceled,
    /// The request can never succeed as it stands.
    InvalidArgument,
    /// The deadline passed.
    DeadlineExceeded,
    /// The thing named does not exist.
    NotFound,
    /// The thing to be made is there.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// A bound was passed.
    ResourceExhausted,
    /// The state of the system forbids it.
    FailedPrecondition,
    /// A conflict with something concurrent.
    Aborted,
    /// Outside of the valid range.
    OutOfRange,
    /// Not offered here.
    Unimplemented,
    /// The server failed.
    Internal,
    /// Not reachable now.
    Unavailable,
    /// Lost beyond recovery.
    DataLoss,
    /// The caller is not known.
    Unauthenticated,
    /// None of the others; also every code that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// Status of a unary response that carries this code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Canceled => 499,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::DeadlineExceeded => 504,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::PermissionDenied => 403,
            Self::ResourceExhausted => 429,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::Unauthenticated => 401,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Canceled => "canceled",
            Self::InvalidArgument => "invalid_argument",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::FailedPrecondition => "failed_precondition",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out_of_range",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data_loss",
            Self::Unauthenticated => "unauthenticated",
            Self::Unknown => "unknown",
        }
    }
}

/// An error as it travels: the body of a failed unary call, and a member of the
/// end record of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// For people.
    #[serde(default)]
    pub message: String,
}

impl Error {
    /// An error with this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Payload of the end record of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndStream {
    /// Absent when the stream ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_and_serde_names_agree() {
        for code in [Code::Canceled, Code::InvalidArgument, Code::DataLoss, Code::Unknown, Code::OutOfRange] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        assert_eq!(serde_json::from_str::<Code>("\"from_the_future\"").unwrap(), Code::Unknown);
    }

    #[test]
    fn a_stream_that_ended_well_has_an_empty_record() {
        assert_eq!(serde_json::to_string(&EndStream::default()).unwrap(), "{}");
        let failed = EndStream { error: Some(Error::new(Code::NotFound, "no")) };
        assert_eq!(
            serde_json::to_string(&failed).unwrap(),
            r#"{"error":{"code":"not_found","message":"no"}}"#
        );
    }
}

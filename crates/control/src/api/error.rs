//! The one table from kinds of failure to status, body and advice on retries.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use wire::rest::ErrorBody;

use crate::app::{Error, ErrorKind};

/// Tells clients whether to send the same request again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("should-retry");

/// What a client that retries by itself should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advice {
    /// It decides by the status.
    None,
    /// Again, a little later: nothing was changed and it may pass.
    Soon,
    /// Again, after some seconds: the server is getting ready.
    Later,
    /// Not again: it would fail the same way, or do harm.
    Never,
}

/// An answer with a status of 400 or more, in the protocol's shape.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    message: String,
    error_code: Option<&'static str>,
    advice: Advice,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), error_code: None, advice: Advice::None }
    }

    /// Its status and its sentence, for another protocol's shape.
    pub(super) fn into_parts(self) -> (StatusCode, String) {
        (self.status, self.message)
    }

    /// The request is at fault.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// It took longer than any request may.
    pub(super) fn timed_out() -> Self {
        let message = "the request took too long";
        Self { advice: Advice::Never, ..Self::new(StatusCode::GATEWAY_TIMEOUT, message) }
    }

    /// The team asks too often; the headers say when to come again.
    pub(super) fn rate_limited() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded")
    }

    /// The server is getting ready.
    pub(super) fn not_ready(progress: &str) -> Self {
        let message = format!("this server is building its templates ({progress})");
        Self { advice: Advice::Later, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// Not in this version.
    pub(super) fn not_built(what: &str) -> Self {
        Error::NotBuilt(what.to_owned()).into()
    }
}

fn table(kind: ErrorKind) -> (StatusCode, Advice) {
    match kind {
        ErrorKind::Refused => (StatusCode::BAD_REQUEST, Advice::None),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, Advice::None),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, Advice::None),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, Advice::None),
        ErrorKind::Conflict => (StatusCode::CONFLICT, Advice::None),
        ErrorKind::Contradiction => (StatusCode::UNPROCESSABLE_ENTITY, Advice::None),
        // Three quick retries do not make room in a limit.
        ErrorKind::Limited => (StatusCode::TOO_MANY_REQUESTS, Advice::Never),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Advice::Soon),
        // Only its operator ends that.
        ErrorKind::Drained => (StatusCode::SERVICE_UNAVAILABLE, Advice::Never),
        ErrorKind::NotReady => (StatusCode::SERVICE_UNAVAILABLE, Advice::Later),
        // Python's client turns the number into a name: 507 has one. It is not
        // repeated by itself, and room comes from killing or from the operator.
        ErrorKind::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, Advice::Never),
        ErrorKind::TimedOut => (StatusCode::GATEWAY_TIMEOUT, Advice::Never),
        ErrorKind::NotBuilt => (StatusCode::NOT_IMPLEMENTED, Advice::None),
        ErrorKind::Bug => (StatusCode::INTERNAL_SERVER_ERROR, Advice::None),
    }
}

impl From<Error> for Failure {
    /// The one place where a failure of the rules is logged.
    fn from(error: Error) -> Self {
        let (status, advice) = table(error.kind());
        if matches!(error.kind(), ErrorKind::Bug | ErrorKind::DiskFull) {
            tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
        }
        Self { status, message: error.to_string(), error_code: error.code(), advice }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            code: self.status.as_u16(),
            message: self.message,
            error_code: self.error_code.map(str::to_owned),
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        match self.advice {
            Advice::None => {}
            Advice::Soon | Advice::Later => {
                let seconds = if self.advice == Advice::Soon { "1" } else { "10" };
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
                headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
            }
            Advice::Never => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
        }
        response
    }
}

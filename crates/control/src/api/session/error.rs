//! Failures in this API's shape: `{"detail": "…"}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use wire::session::Detail;

use crate::api::error::Failure as Common;
use crate::app::SessionError as Error;

/// An answer with a status of 400 or more.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    detail: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// The request is at fault.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl From<Common> for Failure {
    fn from(failure: Common) -> Self {
        let (status, detail) = failure.into_parts();
        Self { status, detail }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::App(error) => return Common::from(error).into(),
            Error::Refused(_) | Error::NoInterpreter => StatusCode::BAD_REQUEST,
            Error::NoSandbox(_) | Error::NoFile(_) => StatusCode::NOT_FOUND,
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::TooLong(_) => StatusCode::REQUEST_TIMEOUT,
            Error::Ended(_) | Error::Inside(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if let Error::Inside(_) = &error {
            // What a guest can bring about is no error of ours.
            tracing::debug!(error = &error as &dyn std::error::Error, "a session's call failed inside");
        }
        Self { status, detail: error.to_string() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(Detail { detail: self.detail })).into_response()
    }
}

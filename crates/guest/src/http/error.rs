//! The error body of the plain routes: `{"code":…,"message":…}` and a newline.

use http::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use wire::files::HttpError;

use super::{Body, Response};

/// A plain route's refusal.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status}: {message}")]
pub(crate) struct HttpFailure {
    /// The status.
    pub(crate) status: StatusCode,
    /// For people.
    pub(crate) message: String,
}

impl HttpFailure {
    /// A refusal with this status.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// As it is sent.
    pub(crate) fn into_response(self) -> Response {
        let body = HttpError { code: self.status.as_u16(), message: self.message };
        // Two plain fields always serialize.
        let mut bytes = serde_json::to_vec(&body).unwrap_or_default();
        bytes.push(b'\n');
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        set(headers, CONTENT_TYPE, "application/json; charset=utf-8");
        set(headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
        response
    }
}

/// Sets a header to a text of ours.
pub(crate) fn set(headers: &mut HeaderMap, name: http::HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// A JSON answer that must not be cached.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            set(response.headers_mut(), CONTENT_TYPE, "application/json");
            set(response.headers_mut(), http::header::CACHE_CONTROL, "no-store");
            response
        }
        Err(error) => HttpFailure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

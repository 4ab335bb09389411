//! Cross-origin requests: the browser build of the JavaScript SDK makes them.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, Method, StatusCode};

use super::error::set;
use super::{Body, Request, Response};

const METHODS: &str = "HEAD, GET, POST, PUT, PATCH, DELETE";
const EXPOSED: &str =
    "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin, Location, Cache-Control, X-Content-Type-Options";

/// The answer if the request only asks whether another one would be allowed.
pub(crate) fn preflight(request: &Request) -> Option<Response> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !asks || !headers.contains_key(ORIGIN) {
        return None;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    set(answer, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(answer, ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    set(answer, ACCESS_CONTROL_MAX_AGE, "7200");
    if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    Some(response)
}

/// Marks an answer as readable by any origin.
pub(crate) fn allow(headers: &mut HeaderMap) {
    set(headers, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

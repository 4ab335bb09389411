//! What holds for every request: the shape of errors, limits of size and time,
//! browsers on other origins, and that a panic costs one request only.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue,
};
use http::{HeaderName, Method, StatusCode, Uri};

use super::error::Failure;
use super::{early, operator};
use crate::App;

/// No request takes longer; each step below has its own, shorter limit.
const REQUEST_LIMIT: Duration = Duration::from_secs(70);

/// A look at all layers takes as long as reading them does; one that nobody waits for
/// any more stops.
const VERIFY_LIMIT: Duration = Duration::from_hours(24);

/// An upload of files.
const UPLOAD_LIMIT: Duration = Duration::from_hours(1);

const CORS: [(HeaderName, &str); 5] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        "Origin, Content-Length, Content-Type, User-Agent, Authorization, X-API-Key, X-Team-ID, Idempotency-Key, \
         browser, lang, lang_version, machine, os, package_version, processor, publisher, release, sdk_runtime, \
         system",
    ),
    (
        ACCESS_CONTROL_EXPOSE_HEADERS,
        "X-Next-Token, X-Total-Running, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, \
         Should-Retry",
    ),
    (ACCESS_CONTROL_MAX_AGE, "7200"),
];

pub(super) fn wrap(routes: Router<App>, app: &App) -> Router<App> {
    routes
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(super::BODY_LIMIT))
        .layer(from_fn(early::take_start))
        .layer(from_fn(guard))
        .layer(from_fn_with_state(app.clone(), operator::count))
}

/// The same for uploads, which are as large and take as long as they do.
pub(super) fn wrap_uploads(routes: Router<App>) -> Router<App> {
    routes.layer(from_fn(guard_upload))
}

async fn guard_upload(request: Request, next: Next) -> Response {
    let mut response = within(UPLOAD_LIMIT, request, next).await;
    add_cors(response.headers_mut());
    response
}

async fn unknown_route(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(256).collect();
    Failure::new(StatusCode::NOT_FOUND, format!("no such route: {method} {path}"))
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(256).collect();
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not know {method}"))
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        within(limit(request.uri().path()), request, next).await
    };
    add_cors(response.headers_mut());
    response
}

fn limit(path: &str) -> Duration {
    if path == super::cache::VERIFY { VERIFY_LIMIT } else { REQUEST_LIMIT }
}

async fn within(limit: Duration, request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => response,
        // The panic hook has logged it with its place.
        Ok(Err(_panic)) => {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal failure").into_response()
        }
        Err(_elapsed) => Failure::timed_out().into_response(),
    }
}

pub(super) fn add_cors(headers: &mut HeaderMap) {
    for (name, value) in CORS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

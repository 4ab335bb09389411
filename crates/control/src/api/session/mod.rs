//! The session API: `/api/v1/session/{session_id}/sandbox/…`.
//!
//! Errors have this API's own shape, calls may take as long as an execution, and
//! files go through without being held.

mod error;
mod extract;
mod files;
mod run;
mod upload;

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::FutureExt as _;
use http::{Method, StatusCode, Uri};

use super::{early, edge, operator, rate};
use crate::App;
use error::Failure;

/// What every path begins with.
pub(super) const BASE: &str = "/api/v1/session";

/// The routes below [`BASE`].
pub(super) fn routes(app: &App) -> Router<App> {
    Router::new()
        .route("/{session_id}/sandbox/start", post(run::start))
        .route("/{session_id}/sandbox/stop", post(run::stop))
        .route("/{session_id}/sandbox/status", get(run::status))
        .route("/{session_id}/sandbox/execute", post(run::execute))
        .route("/{session_id}/sandbox/install", post(run::install))
        .route("/{session_id}/sandbox/upload", post(upload::upload))
        .route("/{session_id}/sandbox/download", get(files::download))
        .route("/{session_id}/sandbox/files", get(files::list))
        .route_layer(from_fn_with_state(app.clone(), limit))
        .fallback(unknown_call)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(super::BODY_LIMIT))
        .layer(from_fn(early::take_start))
        .layer(from_fn(guard))
        .layer(from_fn_with_state(app.clone(), operator::count))
}

async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    rate::limit_as(app, request, next, |refusal| Failure::from(refusal).into_response()).await
}

/// Where nothing is, seen from the root.
pub(super) async fn unknown_route(method: Method, uri: Uri) -> Failure {
    no_route(&method, uri.path())
}

/// Where nothing is below [`BASE`], which is not in the path any more.
async fn unknown_call(method: Method, uri: Uri) -> Failure {
    no_route(&method, &format!("{BASE}{}", uri.path()))
}

fn no_route(method: &Method, path: &str) -> Failure {
    let path: String = path.chars().take(256).collect();
    Failure::new(StatusCode::NOT_FOUND, format!("no such route: {method} {path}"))
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(256).collect();
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("{BASE}{path} does not know {method}"))
}

/// Browsers on other origins, and that a panic costs one request only. Every
/// step of a call has its own limit of time.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        // The panic hook has logged it with its place.
        answer.unwrap_or_else(|_panic| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal failure").into_response()
        })
    };
    edge::add_cors(response.headers_mut());
    response
}

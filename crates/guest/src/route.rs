//! The clients' port: which request is answered by what.
//!
//! There is no `/init` here: the host uses a socket that nobody else reaches.

use std::rc::Rc;

use http::{HeaderValue, Method, StatusCode};

use crate::daemon::Daemon;
use crate::http::error::{json, set};
use crate::http::{Body, HttpFailure, Request, Response, auth, cors};
use crate::{files, rpc};

/// Answers any request: cross-origin question, token, user, route, in this order.
pub(crate) async fn answer(daemon: &Rc<Daemon>, request: Request) -> Response {
    if let Some(response) = cors::preflight(&request) {
        return response;
    }
    let mut response = match check(daemon, &request) {
        Ok(()) => routed(daemon, request).await,
        Err(failure) => failure.into_response(),
    };
    cors::allow(response.headers_mut());
    response
}

fn check(daemon: &Daemon, request: &Request) -> Result<(), HttpFailure> {
    let token = daemon.settings.get().access_token.clone();
    auth::check_token(token.as_deref(), request.method(), request.uri().path(), request.headers())
}

async fn routed(daemon: &Rc<Daemon>, request: Request) -> Response {
    let request = match rpc::answer(daemon, request).await {
        Ok(response) => return response,
        Err(request) => request,
    };
    if let Err(error) = daemon.settings.user(auth::basic_user(request.headers()).as_deref()) {
        return HttpFailure::new(StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => health(),
        (&Method::GET, "/envs") => json(&daemon.settings.envs()),
        (&Method::GET, "/metrics") => json(&daemon.metrics.measure(daemon.settings.get().limits)),
        (&Method::GET, "/files") => files::download(daemon, &request),
        (&Method::POST, "/files") => files::upload(daemon, request).await,
        (&Method::POST, "/files/compose") => files::compose(daemon, request).await,
        (_, "/health" | "/envs" | "/metrics" | "/files" | "/files/compose") => {
            status(StatusCode::METHOD_NOT_ALLOWED)
        }
        _ => not_found(),
    }
}

fn health() -> Response {
    let mut response = status(StatusCode::NO_CONTENT);
    set(response.headers_mut(), http::header::CACHE_CONTROL, "no-store");
    response
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn not_found() -> Response {
    let mut response = Response::new(Body::from("404 page not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

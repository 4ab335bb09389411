//! Rate limits: counted per team and route after it is known who asks, told in
//! the headers that clients steer by.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::Failure;
use super::extract::credentials;
use crate::App;
use crate::app::{Pace, route_shape};

/// Counts the request if its route has a limit. The caller that is found here is
/// handed on, so that nobody is looked up twice.
pub(super) async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    limit_as(app, request, next, Failure::into_response).await
}

/// The same with refusals in another protocol's shape.
pub(super) async fn limit_as(
    app: App,
    request: Request,
    next: Next,
    shape: impl FnOnce(Failure) -> Response,
) -> Response {
    if app.options().rate_limits.is_empty() {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let route = parts.extensions.get::<MatchedPath>();
    let route = route.map(|path| route_shape(&format!("{} {}", parts.method, path.as_str())));
    // Whoever cannot be told from others is refused by the route itself.
    let Ok(caller) = app.authenticate(&credentials(&parts)).await else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let pace = route.and_then(|route| app.pace(caller.team.team_id, &route));
    parts.extensions.insert(caller);
    let request = Request::from_parts(parts, body);
    let Some(pace) = pace else { return next.run(request).await };
    let mut response = match pace.wait {
        None => next.run(request).await,
        Some(_) => shape(Failure::rate_limited()),
    };
    tell(response.headers_mut(), pace);
    response
}

fn tell(headers: &mut HeaderMap, pace: Pace) {
    let mut set = |name: &'static str, value: u64| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    };
    set("ratelimit-limit", u64::from(pace.limit));
    set("ratelimit-remaining", u64::from(pace.remaining));
    set("ratelimit-reset", whole_seconds(pace.reset));
    if let Some(wait) = pace.wait {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait).max(1)));
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

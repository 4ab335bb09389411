//! REST: authenticate, parse, ask the rules, answer.
//!
//! A file per noun. Nothing is decided here but the shape of answers.

mod create;
mod early;
mod edge;
mod error;
mod extract;
mod lifecycle;
mod list;
mod metrics;
mod sandbox;
mod team;
mod template;
mod unbuilt;

use axum::Router;
use axum::routing::{get, post};

use crate::App;

/// Bodies above this are refused.
const BODY_LIMIT: usize = 16 << 20;

/// Every route of the API. The caller serves it; at least 620 s of keep-alive
/// keep pooled connections of clients from breaking under a request.
pub fn router(app: App) -> Router {
    let routes = Router::new()
        .route("/health", get(health))
        .route("/sandboxes", post(create::v1).get(list::v1))
        .route("/v2/sandboxes", post(create::v2).get(list::v2))
        .route("/sandboxes/metrics", get(metrics::many))
        .route("/sandboxes/{sandbox_id}", get(sandbox::detail).delete(lifecycle::kill))
        .route("/sandboxes/{sandbox_id}/timeout", post(lifecycle::timeout))
        .route("/sandboxes/{sandbox_id}/refreshes", post(lifecycle::refresh))
        .route("/sandboxes/{sandbox_id}/connect", post(lifecycle::connect_v1))
        .route("/v2/sandboxes/{sandbox_id}/connect", post(lifecycle::connect_v2))
        .route("/sandboxes/{sandbox_id}/metrics", get(metrics::one))
        .route("/teams", get(team::list))
        .route("/templates", get(template::list))
        .route("/templates/aliases/{alias}", get(template::alias));
    edge::wrap(unbuilt::add(routes)).with_state(app)
}

async fn health() -> &'static str {
    "Health check successful"
}

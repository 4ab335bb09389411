//! REST: authenticate, parse, ask the rules, answer.
//!
//! A file per noun. Nothing is decided here but the shape of answers.

mod account;
mod address;
mod admin;
mod build;
mod cache;
mod create;
mod diff;
pub mod document;
mod early;
mod edge;
mod error;
mod event;
mod extract;
mod lifecycle;
mod list;
mod log;
mod metrics;
mod operator;
mod pairs;
mod rate;
mod record;
mod sandbox;
mod session;
mod snapshot;
mod steps;
mod tag;
mod team_metrics;
mod template;
mod unbuilt;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};

use crate::App;
use error::Failure;

/// Bodies above this are refused.
const BODY_LIMIT: usize = 16 << 20;

/// Every route of the API. The caller serves it; at least 620 s of keep-alive
/// keep pooled connections of clients from breaking under a request.
pub fn router(app: App) -> Router {
    let routes = Router::new()
        .route("/health", get(health))
        .route("/openapi.yaml", get(openapi))
        .route("/sandboxes", post(create::v1).get(list::v1))
        .route("/v2/sandboxes", post(create::v2).get(list::v2))
        .route("/sandboxes/metrics", get(metrics::many))
        .route("/sandboxes/{sandbox_id}", get(sandbox::detail).delete(lifecycle::kill))
        .route("/sandboxes/{sandbox_id}/record", get(record::record))
        .route("/sandboxes/{sandbox_id}/timeout", post(lifecycle::timeout))
        .route("/sandboxes/{sandbox_id}/refreshes", post(lifecycle::refresh))
        .route("/sandboxes/{sandbox_id}/pause", post(lifecycle::pause))
        .route("/sandboxes/{sandbox_id}/resume", post(lifecycle::resume))
        .route("/sandboxes/{sandbox_id}/connect", post(lifecycle::connect_v1))
        .route("/v2/sandboxes/{sandbox_id}/connect", post(lifecycle::connect_v2))
        .route("/sandboxes/{sandbox_id}/fork", post(snapshot::fork))
        .route("/sandboxes/{sandbox_id}/snapshots", post(snapshot::take))
        .route("/sandboxes/{sandbox_id}/rollback", post(snapshot::rollback))
        .route("/snapshots", get(snapshot::list))
        .route("/snapshots/diff", get(diff::diff))
        .route("/sandboxes/{sandbox_id}/metrics", get(metrics::one))
        .route("/sandboxes/{sandbox_id}/logs", get(log::v1))
        .route("/v2/sandboxes/{sandbox_id}/logs", get(log::v2))
        .route("/events/sandboxes", get(event::all))
        .route("/events/sandboxes/{sandbox_id}", get(event::of_sandbox))
        .route("/events/webhooks", get(event::webhooks).post(event::make_webhook))
        .route(
            "/events/webhooks/{webhook_id}",
            get(event::webhook).patch(event::change_webhook).delete(event::remove_webhook),
        )
        .route("/events/webhooks/{webhook_id}/undelivered", get(event::undelivered))
        .route("/teams", get(account::teams))
        .route("/teams/{team_id}/metrics", get(team_metrics::all))
        .route("/teams/{team_id}/metrics/max", get(team_metrics::max))
        .route("/api-keys", get(account::keys).post(account::make_key))
        .route("/api-keys/{api_key_id}", patch(account::rename_key).delete(account::revoke_key))
        .route("/access-tokens", post(account::make_token))
        .route("/access-tokens/{access_token_id}", delete(account::revoke_token))
        .merge(operator())
        .route("/templates", get(template::list))
        .route("/v2/templates", get(template::page).post(build::request_v2))
        .route("/v3/templates", post(build::request))
        .route("/templates/aliases/{alias}", get(template::alias))
        // Older Python clients do not encode the stroke of `namespace/alias`.
        .route("/templates/aliases/{template_id}/{alias}", get(template::alias))
        .route("/templates/{template_id}/{alias}", delete(template::delete))
        .route("/templates/{template_id}/{alias}/tags", get(tag::list))
        .route("/templates/tags", post(tag::assign).delete(tag::remove))
        .route(
            "/templates/{template_id}",
            get(template::one).delete(template::delete).patch(template::update),
        )
        .route("/v2/templates/{template_id}", patch(template::update))
        .route("/templates/{template_id}/tags", get(tag::list))
        .route("/templates/{template_id}/files/{hash}", get(build::files))
        .route("/v2/templates/{template_id}/builds/{build_id}", post(build::start))
        .route("/templates/{template_id}/builds/{build_id}/status", get(build::status))
        .route("/templates/{template_id}/builds/{build_id}/logs", get(build::logs))
        .route("/templates/{template_id}/builds/{build_id}/cancel", post(build::cancel))
        .route("/template-cache", get(cache::list))
        .route("/template-cache/{key}", delete(cache::forget))
        .route("/template-cache/gc", post(cache::collect))
        .route(cache::VERIFY, post(cache::verify))
        .route("/default-templates", get(template::defaults))
        .route("/default-templates/{name}", get(template::default_progress).post(template::order_default));
    let routes = unbuilt::add(routes).route_layer(from_fn_with_state(app.clone(), rate::limit));
    let uploads = Router::new().route("/upload/{team_id}/{hash}", put(build::upload));
    let routes = edge::wrap(routes, &app).merge(edge::wrap_uploads(uploads)).with_state(app.clone());
    // With limits and errors of its own.
    Router::new().nest(session::BASE, session::routes(&app).with_state(app)).fallback_service(routes)
}

/// What only the operator may.
fn operator() -> Router<App> {
    Router::new()
        .route("/metrics", get(operator::metrics))
        .route("/nodes", get(operator::nodes))
        .route("/nodes/{node_id}", get(operator::node).post(operator::set_node))
        .route("/admin/teams", get(admin::teams).post(admin::make_team))
        .route("/admin/teams/{team_id}", patch(admin::change_team))
        .route("/admin/teams/{team_id}/api-keys", get(admin::keys).post(admin::make_key))
        .route("/admin/teams/{team_id}/api-keys/{api_key_id}", delete(admin::revoke_key))
        .route("/admin/teams/{team_id}/members", post(admin::add_member))
        .route("/admin/teams/{team_id}/sandboxes/kill", post(admin::kill_sandboxes))
        .route("/admin/teams/{team_id}/builds/cancel", post(admin::cancel_builds))
        .route("/admin/sandboxes/running-counts", get(admin::running_counts))
        .route("/admin/users", get(admin::users))
        .route("/admin/users/{user_id}/access-tokens", post(admin::make_token))
}

/// The operator's measurements alone, for a port that only the operator's own
/// programs reach: nothing is asked of who reads them.
pub fn metrics_router(app: App) -> Router {
    Router::new().route("/metrics", get(operator::open_metrics)).with_state(app)
}

/// The session API alone, for a port of its own.
pub fn session_router(app: App) -> Router {
    Router::new()
        .nest(session::BASE, session::routes(&app).with_state(app.clone()))
        .route("/health", get(health))
        .fallback(session::unknown_route)
        .with_state(app)
}

/// The API document, for whoever wants to know what there is.
async fn openapi() -> impl axum::response::IntoResponse {
    ([(http::header::CONTENT_TYPE, "application/yaml")], document::REST)
}

/// For load balancers: whether this server can do everything it is there for.
async fn health(State(app): State<App>) -> Result<&'static str, Failure> {
    match app.building() {
        None => Ok("Health check successful"),
        Some(progress) => Err(Failure::not_ready(&progress)),
    }
}

//! `GET /metrics`, `/nodes` and `/nodes/{id}`; and the count of every answer.

use axum::Json;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use wire::exposition;
use wire::rest::{DiskMetrics, MachineInfo, Node, NodeDetail, NodeMetrics, NodeStatusChange};

use super::error::Failure;
use super::extract::{Body, Operator};
use crate::App;
use crate::app::NodeView;
use crate::trace::traced;

/// There is one cluster, and clients want its id.
const CLUSTER: &str = "00000000-0000-0000-0000-000000000000";

/// Everything that is measured, as Prometheus reads it.
pub(super) async fn metrics(State(app): State<App>, _: Operator) -> Result<Response, Failure> {
    open_metrics(State(app)).await
}

/// The same for whoever reaches it: for a listener on loopback alone.
pub(super) async fn open_metrics(State(app): State<App>) -> Result<Response, Failure> {
    let text = exposition::text(&app.measurements().await?);
    Ok(([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response())
}

pub(super) async fn nodes(State(app): State<App>, _: Operator) -> Result<Json<Vec<Node>>, Failure> {
    Ok(Json(vec![shown(app.node_view().await?).node]))
}

pub(super) async fn node(
    State(app): State<App>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<NodeDetail>, Failure> {
    check_id(&app, &id)?;
    Ok(Json(shown(app.node_view().await?)))
}

/// Drains the node, or takes it back.
pub(super) async fn set_node(
    State(app): State<App>,
    _: Operator,
    Path(id): Path<String>,
    Body(change): Body<NodeStatusChange>,
) -> Result<StatusCode, Failure> {
    check_id(&app, &id)?;
    let is_drained = match change.status.as_str() {
        "draining" => true,
        "ready" => false,
        // The rest of the protocol's states are found out, not ordered.
        _ => return Err(Failure::bad_request("validation error: status must be ready or draining")),
    };
    app.set_drained(is_drained).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_id(app: &App, id: &str) -> Result<(), Failure> {
    if id == app.options().node_id {
        return Ok(());
    }
    let id: String = id.chars().take(64).collect();
    Err(Failure::new(StatusCode::NOT_FOUND, format!("node '{id}' not found")))
}

fn shown(view: NodeView) -> NodeDetail {
    let NodeView { id, is_draining, room, host, starting, creates, builds } = view;
    let memory = room.capacity.memory.as_u64();
    let node = Node {
        service_instance_id: id.clone(),
        id,
        cluster_id: CLUSTER.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("WARREN_COMMIT").unwrap_or_default().to_owned(),
        status: if is_draining { "draining" } else { "ready" }.to_owned(),
        machine_info: MachineInfo {
            cpu_family: host.cpu_family,
            cpu_model: host.cpu_model,
            cpu_model_name: host.cpu_name,
            cpu_architecture: host.architecture.to_owned(),
        },
        sandbox_count: room.promised.slots,
        sandbox_starting_count: starting,
        create_successes: creates.0,
        create_fails: creates.1,
        metrics: NodeMetrics {
            allocated_cpu: room.promised_cpus,
            cpu_percent: host.cpu_percent,
            cpu_count: host.cpu_count,
            allocated_memory_bytes: room.promised.memory.as_u64(),
            memory_used_bytes: memory.saturating_sub(room.memory_available.as_u64()),
            memory_total_bytes: memory,
            disks: vec![DiskMetrics {
                mount_point: host.disk.mount_point,
                device: host.disk.device,
                filesystem_type: host.disk.kind,
                used_bytes: host.disk.used.as_u64(),
                total_bytes: host.disk.total.as_u64(),
            }],
        },
    };
    NodeDetail { node, cached_builds: builds }
}

/// Counts the answer by its route. Nothing that a client makes up becomes a
/// name here, so the counts stay few.
pub(super) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    let span =
        tracing::info_span!(target: "warren_trace", "request", method, route, status = tracing::field::Empty);
    let work = async {
        let response = next.run(request).await;
        tracing::Span::current().record("status", response.status().as_u16());
        response
    };
    let response = traced(span, work).await;
    app.count_request(method, route, response.status().as_u16());
    response
}

fn known(method: &Method) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

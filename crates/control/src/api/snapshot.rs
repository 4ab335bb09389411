//! Snapshots, forks and rollbacks.

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use model::TemplateRef;
use serde::Deserialize;
use wire::rest::{ForkError, ForkRequest, Forked, NewSnapshot, RollbackRequest, Sandbox, Snapshot};

use super::error::Failure;
use super::extract::{Body, Fields, Id, MaybeBody};
use super::sandbox::{answer, moment};
use super::template::{PageFields, cut};
use crate::App;
use crate::app::{Caller, Error, NamedSnapshot, SnapshotQuery};

/// `POST /sandboxes/{sandboxID}/snapshots`.
pub(super) async fn take(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    MaybeBody(body): MaybeBody<NewSnapshot>,
) -> Result<(StatusCode, Json<Snapshot>), Failure> {
    let name = body.name.as_deref().map(name).transpose()?;
    let taken = app.snapshot(&caller, &id, name, body.memory.unwrap_or(true)).await?;
    Ok((StatusCode::CREATED, Json(shown(taken))))
}

#[derive(Debug, Deserialize)]
pub(super) struct ListFields {
    #[serde(rename = "sandboxID")]
    sandbox_id: Option<String>,
    name: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "nextToken")]
    next_token: Option<String>,
}

/// `GET /snapshots`.
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Fields(fields): Fields<ListFields>,
) -> Result<(HeaderMap, Json<Vec<Snapshot>>), Failure> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let invalid = |_| Failure::bad_request("Invalid sandbox ID");
    let query = SnapshotQuery {
        source: given(fields.sandbox_id).map(|id| id.parse().map_err(invalid)).transpose()?,
        name: given(fields.name).as_deref().map(name).transpose()?,
    };
    let page = PageFields { limit: fields.limit, next_token: fields.next_token };
    let (headers, found) = cut(app.snapshots(&caller, &query).await?, &page)?;
    Ok((headers, Json(found.into_iter().map(shown).collect())))
}

/// `POST /sandboxes/{sandboxID}/fork`.
pub(super) async fn fork(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    MaybeBody(body): MaybeBody<ForkRequest>,
) -> Result<(StatusCode, Json<Vec<Forked>>), Failure> {
    let forks = app.fork(&caller, &id, body.timeout.unwrap_or(15), body.count.unwrap_or(1)).await?;
    let shown = forks.into_iter().map(|fork| match fork {
        Ok(live) => Forked::Sandbox(Box::new(answer(&app, live))),
        Err(error) => Forked::Error(entry(error)),
    });
    Ok((StatusCode::CREATED, Json(shown.collect())))
}

/// `POST /sandboxes/{sandboxID}/rollback`.
pub(super) async fn rollback(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Body(body): Body<RollbackRequest>,
) -> Result<Json<Sandbox>, Failure> {
    let live = app.rollback(&caller, &id, &name(&body.snapshot_id)?, body.timeout).await?;
    Ok(Json(answer(&app, live)))
}

fn entry(error: Error) -> ForkError {
    let (status, message) = Failure::from(error).into_parts();
    ForkError { code: status.as_u16(), message }
}

pub(super) fn name(text: &str) -> Result<TemplateRef, Failure> {
    text.parse().map_err(|e| Failure::bad_request(format!("Invalid snapshot name: {e}")))
}

fn shown(named: NamedSnapshot) -> Snapshot {
    let NamedSnapshot { snapshot, name, tag } = named;
    let leads = name.clone().unwrap_or_else(|| snapshot.build.template_id.to_string());
    Snapshot {
        snapshot_id: format!("{leads}:{tag}"),
        names: name.into_iter().collect(),
        sandbox_id: Some(snapshot.source.to_string()),
        created_at: Some(moment(snapshot.build.created_at)),
        memory: Some(snapshot.keeps_memory),
        size_bytes: Some(snapshot.size.as_u64()),
    }
}

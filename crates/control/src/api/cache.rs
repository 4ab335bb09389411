//! The cache of build steps: show, forget, clear, verify.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::Timestamp;
use wire::rest::{CachedStep, CollectLayers, CollectedLayers, DamagedLayer, VerifiedLayers};

use super::error::Failure;
use super::extract::MaybeBody;
use super::sandbox::moment;
use crate::App;
use crate::app::Caller;

/// `GET /template-cache`.
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Vec<CachedStep>>, Failure> {
    let steps = app.cached_steps(&caller).await?.into_iter().map(|step| CachedStep {
        key: step.entry.key,
        title: step.entry.title,
        size_bytes: step.size.as_u64(),
        created_at: moment(Timestamp::from_unix_micros(step.entry.made_at)),
        last_used_at: moment(Timestamp::from_unix_micros(step.entry.used_at)),
        in_use: step.in_use,
    });
    Ok(Json(steps.collect()))
}

/// `DELETE /template-cache/{key}`.
pub(super) async fn forget(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<StatusCode, Failure> {
    app.forget_step(&caller, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /template-cache/gc`.
pub(super) async fn collect(
    State(app): State<App>,
    caller: Caller,
    MaybeBody(body): MaybeBody<CollectLayers>,
) -> Result<Json<CollectedLayers>, Failure> {
    let hours = body.unused_for_hours.unwrap_or(0).min(24 * 366);
    let collected = app.collect_layers(&caller, Duration::from_hours(hours)).await?;
    Ok(Json(CollectedLayers {
        layers: collected.layers,
        size_bytes: collected.size.as_u64(),
        removing: collected.removing,
    }))
}

/// Where a look at all layers is asked for.
pub(super) const VERIFY: &str = "/template-cache/verify";

/// `POST /template-cache/verify`.
pub(super) async fn verify(State(app): State<App>, _: Caller) -> Result<Json<VerifiedLayers>, Failure> {
    let verified = app.verify_layers().await?;
    let damaged = verified.damaged.into_iter().map(|one| DamagedLayer { layer: one.layer, reason: one.why });
    Ok(Json(VerifiedLayers {
        layers: verified.layers,
        size_bytes: verified.size.as_u64(),
        damaged: damaged.collect(),
    }))
}

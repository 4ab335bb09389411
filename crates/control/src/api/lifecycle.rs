//! Steering a sandbox: kill, timeout, refreshes, connect.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use wire::rest::{ConnectRequest, RefreshRequest, Sandbox, TimeoutRequest};

use super::error::Failure;
use super::extract::{Body, Id, MaybeBody};
use super::sandbox::answer;
use crate::App;
use crate::app::Caller;

type Done = Result<StatusCode, Failure>;

pub(super) async fn kill(State(app): State<App>, caller: Caller, Id(id): Id) -> Done {
    app.kill(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn timeout(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Body(body): Body<TimeoutRequest>,
) -> Done {
    app.set_timeout(&caller, &id, body.timeout).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn refresh(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    MaybeBody(body): MaybeBody<RefreshRequest>,
) -> Done {
    let seconds = u64::try_from(body.duration.unwrap_or(0)).ok().filter(|seconds| *seconds <= 3600);
    let seconds =
        seconds.ok_or_else(|| Failure::bad_request("validation error: duration must be 0 to 3600"))?;
    app.refresh(&caller, &id, Duration::from_secs(seconds)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Old clients: the timeout is demanded.
pub(super) async fn connect_v1(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Body(body): Body<ConnectRequest>,
) -> Result<Json<Sandbox>, Failure> {
    let seconds = body.timeout.filter(|seconds| *seconds >= 0);
    let seconds = seconds
        .ok_or_else(|| Failure::bad_request("validation error: timeout must be given and at least 0"))?;
    Ok(Json(answer(&app, app.connect(&caller, &id, seconds).await?)))
}

/// New clients: 300 s by default.
pub(super) async fn connect_v2(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    MaybeBody(body): MaybeBody<ConnectRequest>,
) -> Result<Json<Sandbox>, Failure> {
    Ok(Json(answer(&app, app.connect(&caller, &id, body.timeout.unwrap_or(300)).await?)))
}

//! Steering a sandbox: kill, timeout, refreshes, pause, resume, connect.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use node::Waking;
use wire::rest::{ConnectRequest, PauseRequest, RefreshRequest, ResumeRequest, Sandbox, TimeoutRequest};

use super::error::Failure;
use super::extract::{Body, Id, MaybeBody};
use super::sandbox::answer;
use crate::App;
use crate::app::{Caller, Live, PauseCommand};

type Done = Result<StatusCode, Failure>;
type Reached = Result<(StatusCode, Json<Sandbox>), Failure>;

fn reached(app: &App, (live, woken): (Live, bool)) -> (StatusCode, Json<Sandbox>) {
    let status = if woken { StatusCode::CREATED } else { StatusCode::OK };
    (status, Json(answer(app, live)))
}

fn waking(memory: Option<bool>) -> Waking {
    if memory == Some(false) { Waking::Reboot } else { Waking::Kept }
}

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

pub(super) async fn pause(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    MaybeBody(body): MaybeBody<PauseRequest>,
) -> Done {
    let command = PauseCommand {
        memory: body.memory.unwrap_or(true),
        demands_answer: body.require_healthy_guest.unwrap_or(false),
    };
    app.pause(&caller, &id, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    MaybeBody(body): MaybeBody<ResumeRequest>,
) -> Reached {
    let live = app.resume(&caller, &id, body.timeout.unwrap_or(15), waking(body.memory)).await?;
    Ok((StatusCode::CREATED, Json(answer(&app, live))))
}

/// Old clients: the timeout is demanded.
pub(super) async fn connect_v1(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Body(body): Body<ConnectRequest>,
) -> Reached {
    let seconds = body.timeout.filter(|seconds| *seconds >= 0);
    let seconds = seconds
        .ok_or_else(|| Failure::bad_request("validation error: timeout must be given and at least 0"))?;
    Ok(reached(&app, app.connect(&caller, &id, seconds, waking(body.memory)).await?))
}

/// New clients: 300 s by default.
pub(super) async fn connect_v2(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    MaybeBody(body): MaybeBody<ConnectRequest>,
) -> Reached {
    Ok(reached(&app, app.connect(&caller, &id, body.timeout.unwrap_or(300), waking(body.memory)).await?))
}

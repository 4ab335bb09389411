//! `start`, `stop`, `status`, `execute`, `install`.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use model::{SessionId, SessionKind};
use wire::session::{
    ExecuteRequest, ExecutionResult, InstallRequest, SandboxInfo, SandboxStatus, SandboxType, StartRequest,
    moment,
};

use super::error::Failure;
use super::extract::{Caller, Id, Json, MaybeJson, Origin};
use crate::App;
use crate::app::{Executed, Shown};

pub(super) async fn start(
    State(app): State<App>,
    Caller(caller): Caller,
    Id(id): Id,
    MaybeJson(request): MaybeJson<StartRequest>,
) -> Result<Answer<SandboxInfo>, Failure> {
    let kind = match request.sandbox_type.unwrap_or_default() {
        SandboxType::CodeInterpreter => SessionKind::CodeInterpreter,
        SandboxType::Custom => SessionKind::Custom,
    };
    let held = app.session_start(&caller, &id, kind).await?;
    Ok(Answer(info(held.shown())))
}

pub(super) async fn stop(
    State(app): State<App>,
    Caller(caller): Caller,
    Id(id): Id,
) -> Result<StatusCode, Failure> {
    app.session_stop(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `null` where there is none.
pub(super) async fn status(
    State(app): State<App>,
    Caller(caller): Caller,
    Id(id): Id,
) -> Result<Answer<Option<SandboxInfo>>, Failure> {
    Ok(Answer(app.session_status(&caller, &id).await?.map(info)))
}

pub(super) async fn execute(
    State(app): State<App>,
    Caller(caller): Caller,
    Id(id): Id,
    origin: Origin,
    Json(request): Json<ExecuteRequest>,
) -> Result<Answer<ExecutionResult>, Failure> {
    let executed = app.session_execute(&caller, &id, &request.code).await?;
    Ok(Answer(result(executed, &id, &origin)))
}

pub(super) async fn install(
    State(app): State<App>,
    Caller(caller): Caller,
    Id(id): Id,
    origin: Origin,
    Json(request): Json<InstallRequest>,
) -> Result<Answer<ExecutionResult>, Failure> {
    let executed = app.session_install(&caller, &id, &request.packages).await?;
    Ok(Answer(result(executed, &id, &origin)))
}

fn info(Shown { session, is_running }: Shown) -> SandboxInfo {
    SandboxInfo {
        sandbox_id: session.sandbox_id.to_string(),
        session_id: session.session_id.to_string(),
        sandbox_type: match session.kind {
            SessionKind::CodeInterpreter => SandboxType::CodeInterpreter,
            SessionKind::Custom => SandboxType::Custom,
        },
        status: if is_running { SandboxStatus::Running } else { SandboxStatus::Starting },
        created_at: moment(session.created_at.unix_micros()),
        last_activity: moment(session.last_activity.unix_micros()),
    }
}

fn result(executed: Executed, session: &SessionId, origin: &Origin) -> ExecutionResult {
    ExecutionResult {
        success: executed.success,
        output: executed.output,
        error: executed.error,
        execution_time_ms: u64::try_from(executed.took.as_millis()).unwrap_or(u64::MAX),
        artifacts: executed.artifacts.iter().map(|path| origin.download(session, path)).collect(),
    }
}

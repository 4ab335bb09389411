//! Sandboxes as answers, and `GET /sandboxes/{id}`.

use axum::Json;
use axum::extract::State;
use model::{AtTimeout, Timestamp};
use node::Phase;
use wire::rest::{
    Lifecycle, ListedSandbox, NetworkConfig, OnTimeout, PauseMode, Rfc3339, Sandbox, SandboxDetail,
    SandboxState,
};

use super::error::Failure;
use super::extract::Id;
use crate::App;
use crate::app::{Caller, Live};

/// What the reference answers; old clients append it to ids.
const CLIENT_ID: &str = "6532622b";

pub(super) async fn detail(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<SandboxDetail>, Failure> {
    let live = app.sandbox(&caller, &id).await?;
    let network =
        live.row.network.as_deref().and_then(|json| serde_json::from_str::<NetworkConfig>(json).ok());
    Ok(Json(SandboxDetail {
        envd_access_token: live.token.clone(),
        allow_internet_access: live.row.allow_internet,
        domain: app.options().domain.clone().filter(|_| !is_paused(&live)),
        network,
        lifecycle: Some(lifecycle(&live)),
        pause_mode: is_paused(&live).then_some(pause_mode(&live)),
        listed: listed(live),
    }))
}

/// One on its way to sleep or back is not usable: it shows as what it is then.
fn is_paused(live: &Live) -> bool {
    live.observation.phase != Phase::Running
}

fn pause_mode(live: &Live) -> PauseMode {
    if live.observation.keeps_memory { PauseMode::Full } else { PauseMode::Filesystem }
}

fn lifecycle(live: &Live) -> Lifecycle {
    let policy = live.policy();
    let on_timeout = match policy.at_timeout {
        AtTimeout::Kill => OnTimeout::Kill,
        AtTimeout::PauseFiles | AtTimeout::PauseMemory => OnTimeout::Pause,
    };
    Lifecycle { auto_resume: policy.wakes_by_traffic, on_timeout }
}

/// What create and connect answer.
pub(super) fn answer(app: &App, live: Live) -> Sandbox {
    Sandbox {
        template_id: live.row.template_id.to_string(),
        sandbox_id: live.row.sandbox_id.to_string(),
        client_id: CLIENT_ID.to_owned(),
        envd_version: live.observation.envd_version,
        alias: live.row.alias,
        envd_access_token: live.token,
        traffic_access_token: None,
        domain: app.options().domain.clone(),
        isolation: Some(live.observation.isolation.to_string()),
    }
}

pub(super) fn listed(live: Live) -> ListedSandbox {
    ListedSandbox {
        template_id: live.row.template_id.to_string(),
        sandbox_id: live.row.sandbox_id.to_string(),
        client_id: CLIENT_ID.to_owned(),
        started_at: moment(live.observation.started_at),
        end_at: moment(live.observation.deadline),
        cpu_count: live.row.resources.cpu_count,
        memory_mb: live.row.resources.memory.as_mib(),
        disk_size_mb: live.row.resources.disk.as_mib(),
        state: if is_paused(&live) { SandboxState::Paused } else { SandboxState::Running },
        envd_version: live.observation.envd_version,
        alias: live.row.alias,
        metadata: live.row.metadata,
        volume_mounts: None,
        envd_unresponsive_at_pause: live.observation.unresponsive_at_pause.then_some(true),
        isolation: Some(live.observation.isolation.to_string()),
    }
}

pub(super) fn moment(at: Timestamp) -> Rfc3339 {
    Rfc3339::from_unix_micros(at.unix_micros())
}

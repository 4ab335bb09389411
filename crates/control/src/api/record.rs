//! `GET /sandboxes/{id}/record`: what became of a sandbox that ended.

use axum::Json;
use axum::extract::State;
use wire::rest::{OomVictim, SandboxRecord};

use super::error::Failure;
use super::extract::Id;
use super::sandbox::moment;
use crate::App;
use crate::app::Caller;

pub(super) async fn record(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<SandboxRecord>, Failure> {
    let store::Record {
        sandbox_id,
        template_id,
        build_id,
        cause,
        started_at,
        ended_at,
        peaks,
        oom_victims,
        ..
    } = app.record_of(&caller, &id).await?;
    Ok(Json(SandboxRecord {
        sandbox_id: sandbox_id.to_string(),
        template_id: template_id.to_string(),
        build_id: build_id.to_string(),
        cause: cause.as_str().to_owned(),
        message: cause.sentence().to_owned(),
        started_at: started_at.map(moment),
        ended_at: moment(ended_at),
        peak_memory_bytes: peaks.memory.as_u64(),
        peak_disk_bytes: peaks.disk.as_u64(),
        cpu_micros: peaks.cpu_micros,
        oom_kills: peaks.oom_kills,
        oom_victims: oom_victims.into_iter().map(victim).collect(),
    }))
}

fn victim(model::OomVictim { pid, name, user, at, itself }: model::OomVictim) -> OomVictim {
    OomVictim { pid, name, user, at: moment(at), itself }
}

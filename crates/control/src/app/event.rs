//! Events: what happened to a sandbox, for the store, for webhooks and for its log.

use model::{EndCause, KeyId, SandboxId, Timestamp};
use node::{Ended, Observation};
use serde_json::{Value, json};
use store::{Event, EventKind, EventQuery};
use wire::control::LogLevel;

use super::{App, Caller, Error, random, token};

impl App {
    /// Tells that the end of a sandbox was moved. The change holds whether or
    /// not it can be told.
    pub(super) async fn tell_updated(&self, live: &super::Live) {
        let (id, deadline) = (&live.row.sandbox_id, live.observation.deadline);
        let data = json!({ "sandbox_metadata": live.row.metadata, "set_timeout": text(deadline) });
        let now = self.options().clock.now();
        let event = event(&live.row, EventKind::Updated, &data, Some(live.observation.started_at), now);
        if let Err(error) = self.store().add_event(&event).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(sandbox_id = %id, error, "an event was not written");
        }
        self.wake_deliveries();
        self.tell(id, LogLevel::Info, "Timeout changed", &[("end_at", text(deadline))]);
    }

    /// A sandbox's log says how it ended.
    pub(super) fn tell_end(&self, ended: &Ended) {
        let level = match ended.cause {
            EndCause::Killed(_) | EndCause::Timeout => LogLevel::Info,
            _ => LogLevel::Error,
        };
        let message = format!("Sandbox ended: {}", ended.cause.sentence());
        let peaks = ended.peaks;
        let mut facts = vec![
            ("cause", ended.cause.to_string()),
            ("peak_memory_bytes", peaks.memory.as_u64().to_string()),
            ("oom_kills", peaks.oom_kills.to_string()),
        ];
        if !ended.oom_victims.is_empty() {
            let victims: Vec<_> = ended.oom_victims.iter().map(ToString::to_string).collect();
            facts.push(("oom_victims", victims.join(", ")));
        }
        self.tell(&ended.sandbox_id, level, &message, &facts);
    }

    /// The events of the caller's sandboxes.
    pub(crate) async fn events(&self, caller: &Caller, query: &EventQuery) -> Result<Vec<Event>, Error> {
        Ok(self.store().events(caller.team.team_id, query).await?)
    }
}

/// The event that a sandbox became usable.
pub(super) fn created_event(row: &store::Sandbox, started_at: Timestamp) -> Event {
    let data = json!({ "sandbox_metadata": row.metadata });
    event(row, EventKind::Created, &data, Some(started_at), started_at)
}

/// The event that a sandbox is gone.
pub(super) fn killed_event(row: &store::Sandbox, ended: &Ended) -> Event {
    let lived = ended.started_at.map_or(0, |started| ended.ended_at.since(started).as_millis());
    let data = json!({
        "sandbox_metadata": row.metadata,
        "execution": execution(row, ended.started_at, lived),
        "cause": ended.cause.as_str(),
        "reason": ended.cause.sentence(),
        "peaks": {
            "memory_bytes": ended.peaks.memory.as_u64(),
            "disk_bytes": ended.peaks.disk.as_u64(),
            "cpu_micros": ended.peaks.cpu_micros,
            "oom_kills": ended.peaks.oom_kills,
        },
    });
    event(row, EventKind::Killed, &data, ended.started_at, ended.ended_at)
}

/// The event that a sandbox was paused, with the run that ended so.
pub(super) fn paused_event(row: &store::Sandbox, seen: &Observation) -> Event {
    let lived = seen.deadline.since(seen.started_at).as_millis();
    let data = json!({
        "sandbox_metadata": row.metadata,
        "execution": execution(row, Some(seen.started_at), lived),
        "keeps_memory": seen.keeps_memory,
    });
    event(row, EventKind::Paused, &data, Some(seen.started_at), seen.deadline)
}

/// The event that a sandbox goes on after a pause.
pub(super) fn resumed_event(row: &store::Sandbox, seen: &Observation) -> Event {
    let data = json!({ "sandbox_metadata": row.metadata });
    event(row, EventKind::Resumed, &data, Some(seen.started_at), seen.started_at)
}

/// The event that the state of a sandbox was kept, and it went on.
pub(super) fn checkpointed_event(live: &super::Live, at: Timestamp) -> Event {
    let data = json!({ "sandbox_metadata": live.row.metadata });
    event(&live.row, EventKind::Checkpointed, &data, Some(live.observation.started_at), at)
}

fn execution(row: &store::Sandbox, started_at: Option<Timestamp>, lived_ms: u128) -> Value {
    json!({
        "started_at": started_at.map(text),
        "vcpu_count": row.resources.cpu_count,
        "memory_mb": row.resources.memory.as_mib(),
        "execution_time": u64::try_from(lived_ms).unwrap_or(u64::MAX),
    })
}

fn event(
    row: &store::Sandbox,
    kind: EventKind,
    data: &Value,
    started_at: Option<Timestamp>,
    happened_at: Timestamp,
) -> Event {
    Event {
        event_id: KeyId::from_random(random()),
        team_id: row.team_id,
        sandbox_id: row.sandbox_id.clone(),
        template_id: row.template_id.clone(),
        build_id: row.build_id,
        execution_id: execution_id(&row.sandbox_id, started_at),
        kind,
        data: Some(data.to_string()),
        happened_at,
    }
}

/// Names one run of a sandbox: derived from what tells it from others, so that
/// nobody has to keep it.
fn execution_id(sandbox: &SandboxId, started_at: Option<Timestamp>) -> String {
    let started_at = started_at.map_or(0, Timestamp::unix_micros);
    let digest = token::digest(format!("{sandbox} {started_at}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    KeyId::from_random(bytes).to_string()
}

fn text(at: Timestamp) -> String {
    wire::rest::Rfc3339::from_unix_micros(at.unix_micros()).to_string()
}

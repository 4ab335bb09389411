//! `POST /sandboxes` and `POST /v2/sandboxes`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use wire::rest::{NetworkConfig, NewSandbox, Sandbox};

use super::error::Failure;
use super::extract::{Body, IdempotencyKey};
use super::pairs;
use super::sandbox::answer;
use crate::App;
use crate::app::{Caller, CreateCommand, Once};

type Created = Result<(StatusCode, Json<Sandbox>), Failure>;

/// Old clients: 15 s, and a token only on request.
pub(super) async fn v1(
    State(app): State<App>,
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewSandbox>,
) -> Created {
    let secured = new.secure.unwrap_or(false);
    create(&app, &caller, command(new, key, 15, secured)?).await
}

/// New clients: 300 s, and always a token.
pub(super) async fn v2(
    State(app): State<App>,
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewSandbox>,
) -> Created {
    create(&app, &caller, command(new, key, 300, true)?).await
}

async fn create(app: &App, caller: &Caller, command: CreateCommand) -> Created {
    let live = app.create(caller, command).await?;
    Ok((StatusCode::CREATED, Json(answer(app, live))))
}

fn command(
    new: NewSandbox,
    IdempotencyKey(key): IdempotencyKey,
    default_timeout: i64,
    secured: bool,
) -> Result<CreateCommand, Failure> {
    if new.mcp.as_ref().is_some_and(|mcp| !mcp.is_object()) {
        return Err(Failure::bad_request("Error when parsing request: mcp must be an object"));
    }
    let template = new
        .template_id
        .parse()
        .map_err(|e| Failure::bad_request(format!("Invalid template reference: {e}")))?;
    Ok(CreateCommand {
        template,
        timeout: new.timeout.unwrap_or(default_timeout),
        auto_pause: new.auto_pause.unwrap_or(false),
        auto_pause_memory: new.auto_pause_memory,
        auto_resume: new.auto_resume.is_some_and(|policy| policy.enabled),
        secured,
        // Read and written again, so that spelling makes no other request.
        once: key.map(|key| Once { key, request: format!("{default_timeout} {}", text(&new)) }),
        unmet: unmet(&new),
        allow_internet: new.allow_internet_access,
        network: new.network.as_ref().map(text),
        metadata: pairs::metadata(new.metadata)?,
        env_vars: pairs::variables(new.env_vars.unwrap_or_default())?,
    })
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what came as JSON goes as JSON")
}

/// Fields that restrict or promise something which is not built: never ignored.
fn unmet(new: &NewSandbox) -> Vec<String> {
    let mut unmet = Vec::new();
    if new.iam.as_ref().is_some_and(|iam| !iam.tokens.is_empty()) {
        unmet.push("iam".to_owned());
    }
    if new.allow_internet_access == Some(false) {
        unmet.push("allow_internet_access=false".to_owned());
    }
    let demands = new.network.as_ref().map(NetworkConfig::demands).unwrap_or_default();
    unmet.extend(demands.into_iter().map(|field| format!("network.{field}")));
    if new.volume_mounts.as_ref().is_some_and(|mounts| !mounts.is_empty()) {
        unmet.push("volumeMounts".to_owned());
    }
    unmet
}

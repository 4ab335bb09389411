//! `warren sandbox rollback`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use sdk::{Config, Sandbox};
use serde_json::json;

use super::super::form::{Form, print_json};

/// Options of `rollback`.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The sandbox, which runs or sleeps.
    id: String,
    /// A snapshot that was taken of it.
    snapshot: String,
    /// Seconds to live from there; without it what the sandbox was given last.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Runs the command.
pub(super) async fn run(config: &Config, wanted: Rollback, form: Form) -> Result<ExitCode> {
    let Rollback { id, snapshot, timeout } = wanted;
    let sandbox = Sandbox::detached(config, &id)?;
    let waiting = form.spinner(&format!("taking {id} back to {snapshot}"));
    let back = sandbox.rollback(&snapshot, timeout.map(Duration::from_secs)).await;
    waiting.finish_and_clear();
    back.with_context(|| format!("take {id} back to {snapshot}"))?;
    if form.json {
        print_json(&json!({ "sandboxId": id, "snapshotId": snapshot, "state": "running" }))?;
    } else if form.is_talkative() {
        println!("{id} is as it was at {snapshot}, and runs");
    }
    Ok(ExitCode::SUCCESS)
}

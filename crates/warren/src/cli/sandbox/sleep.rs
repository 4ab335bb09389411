//! `warren sandbox pause` and `resume`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use sdk::{Config, ConnectOptions, Sandbox, SnapshotMode};
use serde_json::json;

use super::super::form::{Form, print_json};

/// Options of `pause`.
#[derive(Debug, Args)]
pub(super) struct Pause {
    /// Their ids.
    #[arg(required = true)]
    ids: Vec<String>,
    /// Keep the files alone, not the memory.
    #[arg(long)]
    files_only: bool,
}

/// Options of `resume`.
#[derive(Debug, Args)]
pub(super) struct Resume {
    /// Their ids.
    #[arg(required = true)]
    ids: Vec<String>,
    /// Seconds to live from now.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Start them from their files alone, without what ran in them.
    #[arg(long)]
    reboot: bool,
}

/// Runs `pause`.
pub(super) async fn pause(config: &Config, pause: Pause, form: Form) -> Result<ExitCode> {
    let mode = if pause.files_only { SnapshotMode::Filesystem } else { SnapshotMode::Full };
    let mut done = Vec::new();
    for id in pause.ids {
        let waiting = form.spinner(&format!("pausing {id}"));
        let paused = Sandbox::detached(config, &id)?.pause_with(mode, false).await;
        waiting.finish_and_clear();
        let paused = paused.with_context(|| format!("pause {id}"))?;
        if form.is_talkative() {
            println!("{id} {}", if paused { "paused" } else { "slept already" });
        }
        done.push(json!({ "sandboxId": id, "paused": paused }));
    }
    if form.json {
        print_json(&done)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `resume`.
pub(super) async fn resume(config: &Config, resume: Resume, form: Form) -> Result<ExitCode> {
    let mut done = Vec::new();
    for id in resume.ids {
        let waiting = form.spinner(&format!("waking {id}"));
        let options = ConnectOptions::new().timeout(Duration::from_secs(resume.timeout));
        let options = if resume.reboot { options.reboot() } else { options };
        let woken = Sandbox::connect_with(config, &id, options).await;
        waiting.finish_and_clear();
        woken.with_context(|| format!("resume {id}"))?;
        if form.is_talkative() {
            println!("{id} running");
        }
        done.push(json!({ "sandboxId": id, "state": "running" }));
    }
    if form.json {
        print_json(&done)?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `warren sandbox create`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use sdk::{Config, CreateOptions, OnTimeout, Sandbox, SnapshotMode};

use super::super::form::{Form, print_json};
use super::{as_json, pair};

/// Options of `create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Template: a name, an id, name:tag, or a snapshot's id.
    #[arg(default_value = "base")]
    template: String,
    /// Seconds to live.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// A label, to list by; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// An environment variable for everything inside; may be repeated.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Put it to sleep at the end of its time instead of ending it.
    #[arg(long)]
    pause_on_timeout: bool,
    /// Cut it off from everything outside.
    #[arg(long)]
    no_internet: bool,
}

/// Runs the command.
pub(super) async fn run(config: &Config, create: Create, form: Form) -> Result<ExitCode> {
    let mut options =
        CreateOptions::new().template(&create.template).timeout(Duration::from_secs(create.timeout));
    for (key, value) in create.metadata {
        options = options.metadata(key, value);
    }
    for (name, value) in create.env {
        options = options.env(name, value);
    }
    if create.pause_on_timeout {
        options = options.on_timeout(OnTimeout::Pause(SnapshotMode::Full));
    }
    if create.no_internet {
        options = options.allow_internet_access(false);
    }
    let waiting = form.spinner(&format!("creating a sandbox of {}", create.template));
    let sandbox = Sandbox::create_with(config, options).await;
    waiting.finish_and_clear();
    let sandbox = sandbox.with_context(|| format!("create a sandbox of {}", create.template))?;
    if form.json {
        print_json(&as_json(&sandbox.info().await.context("look at the sandbox")?))?;
    } else {
        println!("{}", sandbox.id());
    }
    Ok(ExitCode::SUCCESS)
}

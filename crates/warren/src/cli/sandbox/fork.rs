//! `warren sandbox fork`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use sdk::{Config, Sandbox};
use serde_json::json;

use super::super::form::{Form, print_json};

/// Options of `fork`.
#[derive(Debug, Args)]
pub(super) struct Fork {
    /// The sandbox.
    id: String,
    /// How many copies.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,
    /// Seconds for each copy to live.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// Runs the command; fails if one of the copies did.
pub(super) async fn run(config: &Config, wanted: Fork, form: Form) -> Result<ExitCode> {
    let sandbox = Sandbox::detached(config, &wanted.id)?;
    let waiting = form.spinner(&format!("forking {}", wanted.id));
    let forks = sandbox.fork(wanted.count, Duration::from_secs(wanted.timeout)).await;
    waiting.finish_and_clear();
    let forks = forks.with_context(|| format!("fork {}", wanted.id))?;
    let failed = forks.iter().filter(|fork| fork.is_err()).count();
    if form.json {
        let rows = forks.iter().map(|fork| match fork {
            Ok(sandbox) => json!({ "sandboxId": sandbox.id() }),
            Err(error) => json!({ "error": error.to_string() }),
        });
        print_json(&rows.collect::<Vec<_>>())?;
    } else {
        for fork in &forks {
            match fork {
                Ok(sandbox) => println!("{}", sandbox.id()),
                Err(error) => eprintln!("warren: a fork failed: {error}"),
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

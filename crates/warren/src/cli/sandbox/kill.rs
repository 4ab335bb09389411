//! `warren sandbox kill`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use sdk::{Config, ListQuery, Sandbox};

use super::super::form::{Form, print_json};
use super::pair;

/// Options of `kill`.
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Their ids.
    #[arg(required_unless_present = "all")]
    ids: Vec<String>,
    /// All of the key's team.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Of all, only those with this label; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, requires = "all")]
    metadata: Vec<(String, String)>,
}

/// Runs the command. What was gone already is as good as killed.
pub(super) async fn run(config: &Config, kill: Kill, form: Form) -> Result<ExitCode> {
    let mut ids = kill.ids;
    if kill.all {
        let labels = kill.metadata.into_iter();
        let query = labels.fold(ListQuery::new(), |query, (key, value)| query.metadata(key, value));
        let listed = Sandbox::list_with(config, query).collect().await.context("list sandboxes")?;
        ids = listed.into_iter().map(|one| one.sandbox_id).collect();
    }
    let mut ended = Vec::with_capacity(ids.len());
    for id in ids {
        let killed = Sandbox::kill_id(config, &id).await.with_context(|| format!("kill {id}"))?;
        if form.is_talkative() {
            println!("{id} {}", if killed { "killed" } else { "was not there" });
        }
        ended.push(serde_json::json!({ "sandboxId": id, "killed": killed }));
    }
    if form.json {
        print_json(&ended)?;
    }
    Ok(ExitCode::SUCCESS)
}

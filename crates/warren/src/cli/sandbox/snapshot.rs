//! `warren sandbox snapshot …`: states of sandboxes that are kept.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use sdk::{Config, Sandbox, SnapshotInfo, SnapshotMode, SnapshotQuery};
use serde_json::{Value, json};

use super::super::form::{Form, print_json, print_lines};
use super::super::table::Table;

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub(super) enum Act {
    /// Keep the state of a sandbox, which goes on, and print the id to create others from.
    #[command(
        after_help = "Example: warren sandbox create $(warren sandbox snapshot create i4kq0v9t2m1x7c5b8n3za)"
    )]
    Create {
        /// The sandbox.
        id: String,
        /// A name for it.
        #[arg(long)]
        name: Option<String>,
        /// Keep the files alone, not the memory.
        #[arg(long)]
        files_only: bool,
    },
    /// List snapshots, newest first.
    #[command(
        visible_alias = "ls",
        after_help = "Example: warren sandbox snapshot list --sandbox i4kq0v9t2m1x7c5b8n3za"
    )]
    List {
        /// Only those of this sandbox.
        #[arg(long, value_name = "ID")]
        sandbox: Option<String>,
    },
    /// Delete snapshots.
    #[command(
        visible_alias = "dl",
        after_help = "Example: warren sandbox snapshot delete default/before-upgrade:default"
    )]
    Delete {
        /// Their ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Runs the command.
pub(super) async fn run(config: &Config, act: Act, form: Form) -> Result<ExitCode> {
    match act {
        Act::Create { id, name, files_only } => {
            let mode = if files_only { SnapshotMode::Filesystem } else { SnapshotMode::Full };
            create(config, &id, name.as_deref(), mode, form).await
        }
        Act::List { sandbox } => list(config, sandbox, form).await,
        Act::Delete { ids } => delete(config, ids, form).await,
    }
}

async fn create(
    config: &Config,
    id: &str,
    name: Option<&str>,
    mode: SnapshotMode,
    form: Form,
) -> Result<ExitCode> {
    let waiting = form.spinner(&format!("keeping the state of {id}"));
    let kept = Sandbox::detached(config, id)?.create_snapshot_with(name, mode).await;
    waiting.finish_and_clear();
    let kept = kept.with_context(|| format!("keep the state of {id}"))?;
    if form.json {
        print_json(&as_json(&kept))?;
    } else {
        println!("{}", kept.snapshot_id);
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(config: &Config, sandbox: Option<String>, form: Form) -> Result<ExitCode> {
    let query = sandbox.into_iter().fold(SnapshotQuery::new(), SnapshotQuery::sandbox);
    let found = Sandbox::list_snapshots(config, query).collect().await.context("list snapshots")?;
    if form.json {
        print_json(&found.iter().map(as_json).collect::<Vec<_>>())?;
    } else if form.quiet {
        print_lines(found.iter().map(|one| &one.snapshot_id));
    } else {
        let mut table = Table::new(&["SNAPSHOT", "NAMES"]);
        for one in found {
            table.row(vec![one.snapshot_id, one.names.join(", ")]);
        }
        table.print();
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails if one of the named was not there: a name may be misspelt.
async fn delete(config: &Config, ids: Vec<String>, form: Form) -> Result<ExitCode> {
    let (mut done, mut all) = (Vec::new(), true);
    for id in ids {
        let deleted = Sandbox::delete_snapshot(config, &id).await.with_context(|| format!("delete {id}"))?;
        all &= deleted;
        if form.is_talkative() {
            println!("{id} {}", if deleted { "deleted" } else { "was not there" });
        }
        done.push(json!({ "snapshotId": id, "deleted": deleted }));
    }
    if form.json {
        print_json(&done)?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(snapshot: &SnapshotInfo) -> Value {
    json!({ "snapshotId": snapshot.snapshot_id, "names": snapshot.names })
}

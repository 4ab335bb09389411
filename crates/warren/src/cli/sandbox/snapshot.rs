//! `warren sandbox snapshot …`: states of sandboxes that are kept.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use sdk::{Config, ErrorKind, Sandbox, SandboxState, SnapshotInfo, SnapshotMode, SnapshotQuery};
use serde_json::{Value, json};

use super::super::form::{Form, lasting, print_json, print_lines, size};
use super::super::table::Table;
use super::unix_seconds;

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
    let kept = keep(config, id, name, mode, form).await?;
    if form.json {
        print_json(&as_json(&kept))?;
    } else {
        println!("{}", kept.snapshot_id);
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps the state of a sandbox that runs.
pub(super) async fn keep(
    config: &Config,
    id: &str,
    name: Option<&str>,
    mode: SnapshotMode,
    form: Form,
) -> Result<SnapshotInfo> {
    let waiting = form.spinner(&format!("keeping the state of {id}"));
    let kept = Sandbox::detached(config, id)?.create_snapshot_with(name, mode).await;
    waiting.finish_and_clear();
    // The protocol has no other word for one that sleeps than that it is not there.
    if kept.as_ref().is_err_and(|e| e.kind() == ErrorKind::SandboxNotFound)
        && Sandbox::info_of(config, id).await.is_ok_and(|info| info.state == SandboxState::Paused)
    {
        bail!("{id} is paused, and only a running sandbox is kept: `warren sandbox resume {id}` wakes it");
    }
    kept.with_context(|| format!("keep the state of {id}"))
}

async fn list(config: &Config, sandbox: Option<String>, form: Form) -> Result<ExitCode> {
    let query = sandbox.into_iter().fold(SnapshotQuery::new(), SnapshotQuery::sandbox);
    let found = Sandbox::list_snapshots(config, query).collect().await.context("list snapshots")?;
    if form.json {
        print_json(&found.iter().map(as_json).collect::<Vec<_>>())?;
    } else if form.quiet {
        print_lines(found.iter().map(|one| &one.snapshot_id));
    } else {
        let mut table = Table::new(&["SNAPSHOT", "OF", "AGE", "KEEPS"]);
        for one in found {
            let keeps = keeps(&one);
            let age = one.created_at.and_then(|at| at.elapsed().ok()).map(lasting).unwrap_or_default();
            table.row(vec![one.snapshot_id, one.sandbox_id.unwrap_or_default(), age, keeps]);
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

/// What is part of it, and what that takes on the server's disk.
fn keeps(snapshot: &SnapshotInfo) -> String {
    match (snapshot.memory, snapshot.size_bytes) {
        (Some(true), Some(bytes)) => format!("memory ({}) and files", size(bytes)),
        (Some(true), None) => "memory and files".to_owned(),
        (Some(false), _) => "files".to_owned(),
        (None, _) => String::new(),
    }
}

fn as_json(snapshot: &SnapshotInfo) -> Value {
    json!({
        "snapshotId": snapshot.snapshot_id,
        "names": snapshot.names,
        "sandboxId": snapshot.sandbox_id,
        "createdAt": snapshot.created_at.map(unix_seconds),
        "memory": snapshot.memory,
        "sizeBytes": snapshot.size_bytes,
    })
}

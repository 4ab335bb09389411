//! `warren sandbox …`: what people and scripts do with sandboxes.

mod connect;
mod create;
mod diff;
mod exec;
mod fork;
mod kill;
mod list;
mod logs;
mod metrics;
mod record;
mod rollback;
mod sleep;
mod snapshot;
mod terminal;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use sdk::{SandboxInfo, SandboxState};

use super::form::Form;
use super::{copy, server};
pub(super) use exec::quote;

/// What to do with sandboxes.
#[derive(Debug, Args)]
#[command(
    after_help = "The server is found through E2B_API_URL, E2B_SANDBOX_URL and E2B_API_KEY, which `warren up` prints, or \
                  through what `warren auth login` stored."
)]
pub(crate) struct Command {
    #[command(flatten)]
    form: Form,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Create a sandbox and print its id.
    #[command(
        visible_alias = "cr",
        after_help = "Example: id=$(warren sandbox create code-interpreter-v1 --timeout 600)"
    )]
    Create(create::Create),
    /// Open a shell in a sandbox, in this terminal; Ctrl-] leaves it running.
    #[command(
        visible_alias = "cn",
        after_help = "Example: warren sandbox connect i4kq0v9t2m1x7c5b8n3za --user root"
    )]
    Connect(connect::Connect),
    /// List sandboxes, newest first.
    #[command(visible_alias = "ls", after_help = "Example: warren sandbox list --state paused --quiet")]
    List(list::List),
    /// Show one sandbox, or what became of one that ended.
    #[command(visible_alias = "in", after_help = "Example: warren sandbox info i4kq0v9t2m1x7c5b8n3za")]
    Info {
        /// Its id.
        id: String,
    },
    /// Run a command in a sandbox; ends with the command's exit status.
    #[command(
        visible_alias = "ex",
        after_help = "Examples:\n  warren sandbox exec i4kq0v9t2m1x7c5b8n3za -- ls -la /tmp\n  \
                      gzip -d < dump.gz | warren sandbox exec i4kq0v9t2m1x7c5b8n3za -- wc -l\n  \
                      warren sandbox exec -t i4kq0v9t2m1x7c5b8n3za -- top"
    )]
    Exec(exec::Exec),
    /// Copy files and directories into or out of a sandbox.
    #[command(after_help = "Examples:\n  warren sandbox cp data.csv i4kq0v9t2m1x7c5b8n3za:/home/user/\n  \
                            warren sandbox cp i4kq0v9t2m1x7c5b8n3za:/home/user/charts .\n  \
                            pg_dump db | warren sandbox cp - i4kq0v9t2m1x7c5b8n3za:/tmp/db.sql")]
    Cp(copy::Copy),
    /// Print where a port of a sandbox is reached.
    #[command(after_help = "Example: curl $(warren sandbox port i4kq0v9t2m1x7c5b8n3za 8080)")]
    Port {
        /// The sandbox.
        id: String,
        /// The port inside.
        port: u16,
    },
    /// Show what a sandbox had to tell.
    #[command(
        visible_alias = "lg",
        after_help = "Example: warren sandbox logs -f --level warn i4kq0v9t2m1x7c5b8n3za"
    )]
    Logs(logs::Logs),
    /// Show what a sandbox uses and used.
    #[command(visible_alias = "mt", after_help = "Example: warren sandbox metrics -f i4kq0v9t2m1x7c5b8n3za")]
    Metrics(metrics::Metrics),
    /// Put sandboxes to sleep: they keep their files and what runs, and use no memory.
    #[command(visible_alias = "ps", after_help = "Example: warren sandbox pause i4kq0v9t2m1x7c5b8n3za")]
    Pause(sleep::Pause),
    /// Wake sandboxes.
    #[command(
        visible_alias = "rs",
        after_help = "Example: warren sandbox resume i4kq0v9t2m1x7c5b8n3za --timeout 600"
    )]
    Resume(sleep::Resume),
    /// Make copies of a running sandbox that go on by themselves, and print their ids.
    #[command(
        visible_alias = "fk",
        after_help = "Example: warren sandbox fork i4kq0v9t2m1x7c5b8n3za --count 3 --timeout 600"
    )]
    Fork(fork::Fork),
    /// Keep, list and delete states of sandboxes, to start others from.
    #[command(subcommand, visible_alias = "sn")]
    Snapshot(snapshot::Act),
    /// Show which files changed between two snapshots, or since one.
    #[command(
        visible_alias = "df",
        override_usage = "warren sandbox diff [OPTIONS] <BEFORE> <AFTER>\n       \
                          warren sandbox diff [OPTIONS] <BEFORE> --sandbox <ID>",
        after_help = "Examples:\n  warren sandbox diff default/before:default default/after:default\n  \
                      warren sandbox diff default/before:default --sandbox i4kq0v9t2m1x7c5b8n3za\n  \
                      warren sandbox diff -q default/before:default default/after:default | grep ^/etc/\n\n\
                      + is new, - is gone, ~ has another content, kind, owner or mode. Times are not compared."
    )]
    Diff(diff::Diff),
    /// Take a sandbox back to a snapshot of it; what it is now is lost.
    #[command(
        visible_alias = "rb",
        after_help = "Example: warren sandbox rollback i4kq0v9t2m1x7c5b8n3za default/before-upgrade:default\n\n\
                      Keep what it is now first: warren sandbox snapshot create i4kq0v9t2m1x7c5b8n3za"
    )]
    Rollback(rollback::Rollback),
    /// End sandboxes now.
    #[command(visible_alias = "kl", after_help = "Example: warren sandbox kill --all")]
    Kill(kill::Kill),
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let config = &server::config()?;
    let form = command.form;
    match command.act {
        Act::Create(create) => create::run(config, create, form).await,
        Act::Connect(connect) => connect::run(config, connect).await,
        Act::List(wanted) => list::run(config, wanted, form).await,
        Act::Info { id } => list::one(config, &id, form).await,
        Act::Exec(exec) => exec::run(config, exec, form).await,
        Act::Cp(copy) => copy::run(config, &copy, form).await,
        Act::Port { id, port } => list::port(config, &id, port, form).await,
        Act::Logs(logs) => logs::run(config, logs, form).await,
        Act::Metrics(metrics) => metrics::run(config, metrics, form).await,
        Act::Pause(pause) => sleep::pause(config, pause, form).await,
        Act::Resume(resume) => sleep::resume(config, resume, form).await,
        Act::Fork(wanted) => fork::run(config, wanted, form).await,
        Act::Snapshot(act) => snapshot::run(config, act, form).await,
        Act::Diff(wanted) => diff::run(config, wanted, form).await,
        Act::Rollback(wanted) => rollback::run(config, wanted, form).await,
        Act::Kill(kill) => kill::run(config, kill, form).await,
    }
}

fn as_json(info: &SandboxInfo) -> serde_json::Value {
    serde_json::json!({
        "sandboxId": info.sandbox_id,
        "templateId": info.template_id,
        "alias": info.alias,
        "state": state(info),
        "startedAt": unix_seconds(info.started_at),
        "cpuCount": info.cpu_count,
        "memoryMiB": info.memory_mib,
        "diskMiB": info.disk_mib,
        "metadata": info.metadata,
        "isolation": info.isolation,
        "endsInSeconds": remaining(info).as_secs(),
    })
}

fn state(info: &SandboxInfo) -> &'static str {
    match info.state {
        SandboxState::Running => "running",
        SandboxState::Paused => "paused",
    }
}

fn remaining(info: &SandboxInfo) -> Duration {
    info.end_at.duration_since(SystemTime::now()).unwrap_or_default()
}

/// Seconds since 1970.
fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `NAME=VALUE`, as an argument's text.
fn pair(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("expected NAME=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn pairs_need_a_name() {
        assert_eq!(pair("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert!(pair("=x").is_err() && pair("x").is_err());
    }
}

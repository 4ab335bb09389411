//! `warren sandbox …`: create, list, look at, run in, and kill sandboxes.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use sdk::{Config, CreateOptions, Sandbox, SandboxInfo};

use super::table::Table;
use super::{connect, copy};

/// What to do with sandboxes.
#[derive(Debug, Args)]
#[command(
    after_help = "The server is found through E2B_API_URL, E2B_SANDBOX_URL and E2B_API_KEY, which `warren up` prints."
)]
pub(crate) struct Command {
    /// Print JSON, one document.
    #[arg(long, global = true)]
    json: bool,
    /// Print only what was asked for: ids, values.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Create a sandbox and print its id.
    #[command(after_help = "Example: id=$(warren sandbox create code-interpreter-v1 --timeout 600)")]
    Create(Create),
    /// Open a shell in a sandbox, in this terminal; Ctrl-] leaves it running.
    #[command(
        visible_alias = "cn",
        after_help = "Example: warren sandbox connect i4kq0v9t2m1x7c5b8n3za --user root"
    )]
    Connect(connect::Connect),
    /// List sandboxes, newest first.
    #[command(visible_alias = "ls")]
    List,
    /// Show one sandbox.
    Info {
        /// Its id.
        id: String,
    },
    /// Run a command in a sandbox; ends with the command's exit status.
    #[command(after_help = "Example: warren sandbox exec i4kq0v9t2m1x7c5b8n3za -- ls -la /tmp")]
    Exec(Exec),
    /// Copy a file into or out of a sandbox.
    #[command(after_help = "Examples:\n  warren sandbox cp data.csv i4kq0v9t2m1x7c5b8n3za:/home/user/\n  \
                            warren sandbox cp i4kq0v9t2m1x7c5b8n3za:/home/user/chart.png .")]
    Cp(copy::Copy),
    /// Print where a port of a sandbox is reached.
    #[command(after_help = "Example: curl $(warren sandbox port i4kq0v9t2m1x7c5b8n3za 8080)")]
    Port {
        /// The sandbox.
        id: String,
        /// The port inside.
        port: u16,
    },
    /// End sandboxes now.
    #[command(visible_alias = "kl", after_help = "Example: warren sandbox kill --all")]
    Kill {
        /// Their ids.
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All of the key's team.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// How answers are written.
#[derive(Debug, Clone, Copy)]
struct Form {
    json: bool,
    quiet: bool,
}

/// Options of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Template: a name, an id, or name:tag.
    #[arg(default_value = "base")]
    template: String,
    /// Seconds to live.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// A label, to list by; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// An environment variable for everything inside; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
}

/// Options of `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The sandbox.
    id: String,
    /// Run as this user.
    #[arg(long)]
    user: Option<String>,
    /// Run in this directory.
    #[arg(long)]
    cwd: Option<String>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let config = Config::from_env()
        .context("find the server (is `eval` of the lines that `warren up` prints missing?)")?;
    let form = Form { json: command.json, quiet: command.quiet };
    match command.act {
        Act::Create(options) => create(&config, options, form).await,
        Act::Connect(options) => connect::run(&config, options).await,
        Act::List => list(&config, form).await,
        Act::Info { id } => info(&config, &id).await,
        Act::Exec(options) => exec(&config, options, form).await,
        Act::Cp(options) => copy::run(&config, &options, form.quiet).await,
        Act::Port { id, port } => show_port(&config, &id, port, form).await,
        Act::Kill { ids, all } => kill(&config, ids, all, form).await,
    }
}

async fn create(config: &Config, create: Create, form: Form) -> Result<ExitCode> {
    let mut options =
        CreateOptions::new().template(create.template).timeout(Duration::from_secs(create.timeout));
    for (key, value) in create.metadata {
        options = options.metadata(key, value);
    }
    for (name, value) in create.env {
        options = options.env(name, value);
    }
    let sandbox = Sandbox::create_with(config, options).await.context("create the sandbox")?;
    if form.json {
        let info = sandbox.info().await.context("look at the sandbox")?;
        println!("{}", serde_json::to_string_pretty(&as_json(&info))?);
    } else {
        println!("{}", sandbox.id());
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(config: &Config, form: Form) -> Result<ExitCode> {
    let all = Sandbox::list(config).await.context("list sandboxes")?;
    if form.json {
        let rows: Vec<_> = all.iter().map(as_json).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if form.quiet {
        for one in &all {
            println!("{}", one.sandbox_id);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["SANDBOX", "TEMPLATE", "STATE", "CPUS", "MEMORY", "ENDS IN"]);
    for one in &all {
        table.row(vec![
            one.sandbox_id.clone(),
            one.alias.as_ref().unwrap_or(&one.template_id).clone(),
            state(one).to_owned(),
            one.cpu_count.to_string(),
            format!("{} MiB", one.memory_mib),
            format!("{} s", remaining(one).as_secs()),
        ]);
    }
    table.print();
    Ok(ExitCode::SUCCESS)
}

/// The URL by which anything reaches a port: its host name, on the server's own
/// scheme and port.
async fn show_port(config: &Config, id: &str, port: u16, form: Form) -> Result<ExitCode> {
    let sandbox = Sandbox::connect(config, id, Duration::ZERO).await.context("find the sandbox")?;
    let scheme = if config.api_url.starts_with("https:") { "https" } else { "http" };
    let url = format!("{scheme}://{}", sandbox.host(port));
    if form.json {
        println!("{}", serde_json::json!({ "sandboxId": id, "port": port, "url": url }));
    } else {
        println!("{url}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn info(config: &Config, id: &str) -> Result<ExitCode> {
    let sandbox = Sandbox::connect(config, id, Duration::ZERO).await.context("find the sandbox")?;
    let info = sandbox.info().await.context("look at the sandbox")?;
    println!("{}", serde_json::to_string_pretty(&as_json(&info))?);
    Ok(ExitCode::SUCCESS)
}

async fn exec(config: &Config, options: Exec, form: Form) -> Result<ExitCode> {
    let sandbox = Sandbox::connect(config, &options.id, Duration::ZERO).await.context("find the sandbox")?;
    let line = options.command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let mut command = sandbox.commands().run(line).timeout(None);
    if !form.json {
        command = command
            .on_stdout(|text| show(&mut io::stdout(), text))
            .on_stderr(|text| show(&mut io::stderr(), text));
    }
    if let Some(user) = options.user {
        command = command.user(user);
    }
    if let Some(cwd) = options.cwd {
        command = command.cwd(cwd);
    }
    let output = command.await.context("run the command")?;
    if form.json {
        let text = serde_json::json!({
            "exitCode": output.exit_code, "stdout": output.stdout, "stderr": output.stderr, "error": output.error,
        });
        println!("{text}");
    }
    // A signal's −1 has no place among exit statuses; 255 is what shells' remote tools answer.
    Ok(ExitCode::from(u8::try_from(output.exit_code).unwrap_or(255)))
}

async fn kill(config: &Config, mut ids: Vec<String>, all: bool, form: Form) -> Result<ExitCode> {
    if all {
        let listed = Sandbox::list(config).await.context("list sandboxes")?;
        ids = listed.into_iter().map(|one| one.sandbox_id).collect();
    }
    let mut ended = Vec::with_capacity(ids.len());
    for id in ids {
        let killed = Sandbox::kill_id(config, &id).await.with_context(|| format!("kill {id}"))?;
        if !form.json && !form.quiet {
            println!("{id} {}", if killed { "killed" } else { "was not there" });
        }
        ended.push(serde_json::json!({ "sandboxId": id, "killed": killed }));
    }
    if form.json {
        println!("{}", serde_json::to_string_pretty(&ended)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(info: &SandboxInfo) -> serde_json::Value {
    serde_json::json!({
        "sandboxId": info.sandbox_id,
        "templateId": info.template_id,
        "alias": info.alias,
        "state": state(info),
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
        sdk::SandboxState::Running => "running",
        sdk::SandboxState::Paused => "paused",
    }
}

fn remaining(info: &SandboxInfo) -> Duration {
    info.end_at.duration_since(SystemTime::now()).unwrap_or_default()
}

/// Output of a closed pipe is nobody's loss; the command goes on.
fn show(to: &mut impl io::Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
    let _ = to.flush();
}

/// A word as the shell inside reads it back unchanged.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn pair(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("expected NAME=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn pairs_need_a_name() {
        assert_eq!(pair("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert!(pair("=x").is_err() && pair("x").is_err());
    }
}

//! `warren sandbox list`, `info` and `port`: what there is.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use sdk::{Config, ListQuery, Sandbox, SandboxInfo, SandboxState};

use super::super::form::{Form, lasting, print_json, print_lines};
use super::super::table::{Table, plain};
use super::{as_json, pair, record, remaining, state};

/// Options of `list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those that stand there.
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    /// Only those with this label; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Only those of this template.
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Running,
    Paused,
}

/// Runs `list`.
pub(super) async fn run(config: &Config, list: List, form: Form) -> Result<ExitCode> {
    let mut query = ListQuery::new();
    for (key, value) in list.metadata {
        query = query.metadata(key, value);
    }
    if let Some(template) = list.template {
        query = query.template(template);
    }
    query = match list.state {
        None => query,
        Some(State::Running) => query.state(SandboxState::Running),
        Some(State::Paused) => query.state(SandboxState::Paused),
    };
    let mut all = Sandbox::list_with(config, query).collect().await.context("list sandboxes")?;
    all.truncate(list.limit.unwrap_or(usize::MAX));
    if form.json {
        print_json(&all.iter().map(as_json).collect::<Vec<_>>())?;
    } else if form.quiet {
        print_lines(all.iter().map(|one| &one.sandbox_id));
    } else {
        table(&all).print();
    }
    Ok(ExitCode::SUCCESS)
}

fn table(all: &[SandboxInfo]) -> Table<'static> {
    let mut table = Table::new(&["SANDBOX", "TEMPLATE", "STATE", "CPUS", "MEMORY", "ENDS IN", "LABELS"]);
    for one in all {
        let labels: Vec<String> = one.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row(vec![
            one.sandbox_id.clone(),
            one.alias.as_ref().unwrap_or(&one.template_id).clone(),
            state(one).to_owned(),
            one.cpu_count.to_string(),
            format!("{} MiB", one.memory_mib),
            // One that sleeps has no end.
            if one.state == SandboxState::Paused { "–".to_owned() } else { lasting(remaining(one)) },
            labels.join(" "),
        ]);
    }
    table
}

/// Runs `info`; a sandbox that sleeps sleeps on.
pub(super) async fn one(config: &Config, id: &str, form: Form) -> Result<ExitCode> {
    let info = match Sandbox::info_of(config, id).await {
        Err(error) if error.kind() == sdk::ErrorKind::SandboxNotFound => {
            let Ok(record) = Sandbox::record_of(config, id).await else {
                return Err(error).context("look at the sandbox");
            };
            return record::print(&record, form);
        }
        found => found.context("look at the sandbox")?,
    };
    if form.json {
        print_json(&as_json(&info))?;
    } else if form.quiet {
        println!("{}", state(&info));
    } else {
        print_lines(facts(&info).iter().map(|(name, value)| format!("{name:<10} {value}")));
    }
    Ok(ExitCode::SUCCESS)
}

fn facts(info: &SandboxInfo) -> Vec<(&'static str, String)> {
    let ends = if info.state == SandboxState::Paused { "–".to_owned() } else { lasting(remaining(info)) };
    let template = match &info.alias {
        Some(alias) => format!("{alias} ({})", info.template_id),
        None => info.template_id.clone(),
    };
    let mut facts = vec![
        ("sandbox", info.sandbox_id.clone()),
        ("template", template),
        ("state", state(info).to_owned()),
        ("ends in", ends),
        ("processors", info.cpu_count.to_string()),
        ("memory", format!("{} MiB", info.memory_mib)),
        ("disk", format!("{} MiB", info.disk_mib)),
        ("isolation", info.isolation.clone().unwrap_or_else(|| "not told".to_owned())),
    ];
    facts.extend(info.metadata.iter().map(|(key, value)| ("label", plain(&format!("{key}={value}")))));
    facts
}

/// Runs `port`: prints the URL by which anything reaches a port, its host name on
/// the server's own scheme and port.
pub(super) async fn port(config: &Config, id: &str, port: u16, form: Form) -> Result<ExitCode> {
    let info = Sandbox::info_of(config, id).await.context("find the sandbox")?;
    let domain = info.domain.as_deref().filter(|domain| !domain.is_empty()).unwrap_or(&config.domain);
    let scheme = if config.api_url.starts_with("https:") { "https" } else { "http" };
    let url = format!("{scheme}://{port}-{id}.{domain}");
    if form.json {
        print_json(&serde_json::json!({ "sandboxId": id, "port": port, "url": url }))?;
    } else {
        println!("{url}");
    }
    Ok(ExitCode::SUCCESS)
}

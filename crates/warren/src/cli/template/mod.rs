//! `warren template …`: start, build, list, publish and delete templates; look
//! after the cache of build steps.

mod build;
mod cache;
mod init;
mod on_demand;
mod recipe;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use sdk::Templates;
use serde_json::{Value, json};
use wire::rest::Template as Listed;

use super::form::{Form, print_json, print_lines};
use super::server;
use super::table::Table;

/// What to do with templates.
#[derive(Debug, Args)]
#[command(
    after_help = "The server is found through E2B_API_URL and E2B_API_KEY, which `warren up` prints, or through what \
                  `warren auth login` stored."
)]
pub(crate) struct Command {
    #[command(flatten)]
    form: Form,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Write the first files of a template into a directory.
    #[command(visible_alias = "it", after_help = "Example: warren template init my-tools --language python")]
    Init(init::Init),
    /// Build a template from a Dockerfile, or one of the server's own that is built on demand.
    #[command(
        visible_alias = "bd",
        after_help = "Examples:\n  warren template build my-tools --file docker/Dockerfile --cpus 4 --memory 4096\n  \
                      warren template build desktop    (in a directory without a Dockerfile)"
    )]
    Build(build::Build),
    /// List templates, newest first.
    #[command(visible_alias = "ls", after_help = "Example: warren template list --json")]
    List,
    /// Let other teams start from templates.
    #[command(visible_alias = "pb", after_help = "Example: warren template publish my-tools")]
    Publish {
        /// Their names or ids.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Keep templates to the team again.
    #[command(visible_alias = "upb", after_help = "Example: warren template unpublish my-tools")]
    Unpublish {
        /// Their names or ids.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Delete templates with all their builds.
    #[command(visible_aliases = ["rm", "dl"], after_help = "Example: warren template delete my-tools")]
    Delete {
        /// Their names or ids.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Look at the cache of build steps, and clear it.
    #[command(subcommand)]
    Cache(cache::Act),
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let form = command.form;
    if let Act::Init(wanted) = command.act {
        return init::run(&wanted, form);
    }
    let config = server::config()?;
    let templates = Templates::new(&config);
    match command.act {
        Act::Init(_) => unreachable!("it was run"),
        Act::Build(wanted) => build::run(&config, &templates, &wanted, form).await,
        Act::List => list(&templates, form).await,
        Act::Publish { names } => publish(&templates, names, true, form).await,
        Act::Unpublish { names } => publish(&templates, names, false, form).await,
        Act::Delete { names } => delete(&templates, names, form).await,
        Act::Cache(act) => cache::run(&templates, act, form).await,
    }
}

async fn list(templates: &Templates, form: Form) -> Result<ExitCode> {
    let found = templates.list().await.context("list the templates")?;
    if form.json {
        print_json(&found)?;
    } else if form.quiet {
        print_lines(found.iter().map(|one| &one.template_id));
    } else {
        let mut table = Table::new(&["ID", "STATUS", "CPUS", "MEMORY", "BUILDS", "ACCESS", "NAMES"]);
        for one in &found {
            table.row(row(one));
        }
        table.print();
    }
    Ok(ExitCode::SUCCESS)
}

fn row(one: &Listed) -> Vec<String> {
    vec![
        one.template_id.clone(),
        one.build_status.clone(),
        one.cpu_count.to_string(),
        format!("{} MiB", one.memory_mb),
        one.build_count.to_string(),
        if one.public { "all" } else { "team" }.to_owned(),
        one.names.join(", "),
    ]
}

async fn publish(templates: &Templates, names: Vec<String>, public: bool, form: Form) -> Result<ExitCode> {
    let mut done = Vec::new();
    for name in names {
        let full = templates.publish(&name, public).await.with_context(|| format!("change {name}"))?;
        if form.is_talkative() {
            println!("{name}: {}", if public { "open to all teams" } else { "the team's own" });
        }
        done.push(json!({ "name": name, "names": full, "public": public }));
    }
    finish(&done, true, form)
}

async fn delete(templates: &Templates, names: Vec<String>, form: Form) -> Result<ExitCode> {
    let (mut done, mut all) = (Vec::new(), true);
    for name in names {
        let found = templates.delete(&name).await.with_context(|| format!("delete {name}"))?;
        all &= found;
        if form.is_talkative() {
            println!("{name}: {}", if found { "deleted" } else { "not found" });
        }
        done.push(json!({ "name": name, "deleted": found }));
    }
    finish(&done, all, form)
}

/// Fails where one of the named was not there: a name may be misspelt.
fn finish(done: &[Value], all: bool, form: Form) -> Result<ExitCode> {
    if form.json {
        print_json(&done)?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

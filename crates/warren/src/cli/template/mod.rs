//! `warren template …`: build, list and delete templates; look after the cache of
//! build steps.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use sdk::{BuildOptions, Config, Ready, Template, Templates};
use wire::rest::{CachedStep, CollectLayers};

/// What to do with templates. The server is found through `E2B_API_URL` and
/// `E2B_API_KEY`, as the official clients find it.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build a template from a Dockerfile.
    Build(Build),
    /// List templates, newest first.
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete templates with all their builds.
    #[command(visible_alias = "rm")]
    Delete {
        /// Their names or ids.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Look at the cache of build steps, and clear it.
    #[command(subcommand)]
    Cache(Cache),
}

/// Options of `build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Its name: alias, or alias:tag.
    name: String,
    /// The Dockerfile.
    #[arg(short, long, value_name = "FILE", default_value = "Dockerfile")]
    file: PathBuf,
    /// The directory that copies are relative to; the Dockerfile's own without.
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
    /// Processors of its sandboxes.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory of its sandboxes, in MiB.
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// A command that each sandbox runs from its start on.
    #[arg(long, value_name = "COMMAND", requires = "ready")]
    start: Option<String>,
    /// A command that succeeds when the sandbox is ready.
    #[arg(long, value_name = "COMMAND", requires = "start")]
    ready: Option<String>,
}

/// What to do with the cache of build steps.
#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// List the steps that later builds find, newest use first.
    #[command(visible_alias = "list")]
    Ls,
    /// Forget steps, so that the next build does them again.
    Rm {
        /// Their keys.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Remove layers that nothing leads to or stands on.
    Gc {
        /// Keep steps that a build used within so many hours.
        #[arg(long, value_name = "HOURS", default_value_t = 0)]
        keep_hours: u64,
    },
    /// Say how much the cache takes on disk.
    Du,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let config = Config::from_env()?;
    let templates = Templates::new(&config);
    match command {
        Command::Build(wanted) => build(&config, &wanted).await,
        Command::List { json } => list(&templates, json).await,
        Command::Delete { names } => {
            let mut all = true;
            for name in names {
                let found = templates.delete(&name).await.with_context(|| format!("delete {name}"))?;
                println!("{name}: {}", if found { "deleted" } else { "not found" });
                all &= found;
            }
            Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Cache(command) => cache(&templates, command).await,
    }
}

async fn build(config: &Config, wanted: &Build) -> Result<ExitCode> {
    let file = wanted.file.display();
    let text = std::fs::read_to_string(&wanted.file).with_context(|| format!("read {file}"))?;
    let own = wanted.file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let context = wanted.context.clone().or_else(|| own.map(PathBuf::from)).unwrap_or_else(|| ".".into());
    let mut template =
        Template::from_dockerfile(&text).with_context(|| format!("read {file}"))?.context(context);
    if let (Some(start), Some(ready)) = (&wanted.start, &wanted.ready) {
        template = template.start(start.as_str(), Ready::command(ready.as_str()));
    }
    let mut options = BuildOptions::new(wanted.name.as_str());
    if let Some(cpus) = wanted.cpus {
        options = options.cpu_count(cpus);
    }
    if let Some(memory) = wanted.memory {
        options = options.memory_mib(memory);
    }
    let built = template.build(config, &options, |entry| println!("{}", entry.message)).await;
    built.with_context(|| format!("build {}", wanted.name))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(templates: &Templates, json: bool) -> Result<ExitCode> {
    let found = templates.list().await.context("list the templates")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&found).context("print the templates")?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<20}  {:<8}  {:>4}  {:>6}  {:>6}  NAMES", "ID", "STATUS", "CPUS", "MIB", "BUILDS");
    for one in found {
        println!(
            "{:<20}  {:<8}  {:>4}  {:>6}  {:>6}  {}",
            one.template_id,
            one.build_status,
            one.cpu_count,
            one.memory_mb,
            one.build_count,
            one.names.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn cache(templates: &Templates, command: Cache) -> Result<ExitCode> {
    match command {
        Cache::Ls => {
            println!("{:<32}  {:>10}  {:<3}  {:<27}  STEP", "KEY", "KIB", "USE", "LAST USED");
            for step in templates.cached_steps().await.context("list the cache")? {
                let (size, used) = (step.size_bytes / 1024, if step.in_use { "yes" } else { "no" });
                println!(
                    "{:<32}  {size:>10}  {used:<3}  {:<27}  {}",
                    step.key,
                    step.last_used_at.to_string(),
                    first_line(&step)
                );
            }
        }
        Cache::Rm { keys } => {
            let mut all = true;
            for key in keys {
                let found = templates.forget_step(&key).await.with_context(|| format!("forget {key}"))?;
                println!("{key}: {}", if found { "forgotten" } else { "not found" });
                all &= found;
            }
            return Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Cache::Gc { keep_hours } => {
            let wanted = CollectLayers { unused_for_hours: Some(keep_hours) };
            let gone = templates.collect_layers(&wanted).await.context("clear the cache")?;
            println!("removed {} layers, {} KiB", gone.layers, gone.size_bytes / 1024);
        }
        Cache::Du => {
            let steps = templates.cached_steps().await.context("list the cache")?;
            let sum = |wanted: fn(&CachedStep) -> bool| -> u64 {
                steps.iter().filter(|step| wanted(step)).map(|step| step.size_bytes / 1024).sum()
            };
            println!("{} steps, {} KiB; in use {} KiB", steps.len(), sum(|_| true), sum(|step| step.in_use));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn first_line(step: &CachedStep) -> String {
    step.title.lines().next().unwrap_or_default().chars().take(80).collect()
}

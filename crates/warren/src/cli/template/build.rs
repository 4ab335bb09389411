//! `warren template build`: a template from a Dockerfile or a recipe, built on the server.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use sdk::{BuildOptions, Config, Ready, Template, Templates};

use super::super::form::{Form, print_json};
use super::{on_demand, recipe};

/// What is read if nothing is said.
const DOCKERFILE: &str = "Dockerfile";

/// Options of `build`.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// Its name: alias, or alias:tag.
    name: String,
    /// The Dockerfile, or a recipe, whose name ends in `.toml`.
    #[arg(short, long, value_name = "FILE", default_value = DOCKERFILE)]
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

impl Build {
    /// Whether there is something to build from, or is meant to be.
    fn has_a_source(&self) -> bool {
        let nothing_said = self.context.is_none()
            && self.cpus.is_none()
            && self.memory.is_none()
            && self.start.is_none()
            && self.file == Path::new(DOCKERFILE);
        !nothing_said || self.file.exists()
    }
}

/// Runs the command: the build's own lines, and on a terminal what goes on below them.
pub(super) async fn run(
    config: &Config,
    templates: &Templates,
    wanted: &Build,
    form: Form,
) -> Result<ExitCode> {
    if !wanted.has_a_source()
        && let Some(code) = on_demand::build(templates, &wanted.name, form).await?
    {
        return Ok(code);
    }
    let template = read(wanted)?;
    let mut options = BuildOptions::new(wanted.name.as_str());
    if let Some(cpus) = wanted.cpus {
        options = options.cpu_count(cpus);
    }
    if let Some(memory) = wanted.memory {
        options = options.memory_mib(memory);
    }
    let bar = form.spinner(&format!("building {}", wanted.name));
    let talks = form.is_talkative();
    let built = template
        .build(config, &options, |entry| {
            bar.set_message(format!("building {}: {}", wanted.name, entry.message));
            if talks {
                // Above the bar, where there is one; only lines of the build go to standard output.
                bar.suspend(|| println!("{}", entry.message));
            }
        })
        .await;
    bar.finish_and_clear();
    let built = built.with_context(|| format!("build {}", wanted.name))?;
    if form.json {
        let (template_id, build_id) = (&built.template_id, &built.build_id);
        print_json(
            &serde_json::json!({ "name": wanted.name, "templateId": template_id, "buildId": build_id }),
        )?;
    } else if form.quiet {
        println!("{}", built.template_id);
    } else if io::stderr().is_terminal() {
        eprintln!("{} is ready: warren sandbox create {}", wanted.name, wanted.name);
    }
    Ok(ExitCode::SUCCESS)
}

fn read(wanted: &Build) -> Result<Template> {
    let file = wanted.file.display();
    let text = std::fs::read_to_string(&wanted.file)
        .with_context(|| format!("read {file} (`warren template init NAME` writes a first one)"))?;
    let own = wanted.file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let context = wanted.context.clone().or_else(|| own.map(PathBuf::from)).unwrap_or_else(|| ".".into());
    let template = if recipe::is_recipe(&wanted.file) { recipe::read(&text) } else { dockerfile(&text) };
    let template = template.with_context(|| format!("read {file}"))?.context(context);
    Ok(match (&wanted.start, &wanted.ready) {
        (Some(start), Some(ready)) => template.start(start.as_str(), Ready::command(ready.as_str())),
        _ => template,
    })
}

fn dockerfile(text: &str) -> Result<Template> {
    Ok(Template::from_dockerfile(text)?)
}

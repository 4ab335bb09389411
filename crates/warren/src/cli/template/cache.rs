//! `warren template cache …`: the steps that later builds find.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use sdk::Templates;
use serde_json::json;
use wire::rest::{CachedStep, CollectLayers, CollectedLayers};

use super::super::form::{Form, print_json, print_lines, size};
use super::super::table::Table;
use super::finish;

/// What to do with the cache of build steps.
#[derive(Debug, Subcommand)]
pub(super) enum Act {
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
    #[command(
        after_help = "Returns when the layers are set aside; the server removes them in the background and says in its log how far it is.\nExample: warren template cache gc --keep-hours 168"
    )]
    Gc {
        /// Keep steps that a build used within so many hours.
        #[arg(long, value_name = "HOURS", default_value_t = 0)]
        keep_hours: u64,
    },
    /// Say how much the cache takes on disk.
    Du,
    /// Read every layer and compare it with what it was when it was made.
    #[command(
        after_help = "Ends with 1 if a layer is damaged. Such a layer is set aside; the next build makes it anew."
    )]
    Verify,
}

/// Runs the command.
pub(super) async fn run(templates: &Templates, act: Act, form: Form) -> Result<ExitCode> {
    match act {
        Act::Ls => list(templates, form).await,
        Act::Rm { keys } => forget(templates, keys, form).await,
        Act::Gc { keep_hours } => {
            let wanted = CollectLayers { unused_for_hours: Some(keep_hours) };
            let gone = templates.collect_layers(&wanted).await.context("clear the cache")?;
            if form.json {
                print_json(&gone)?;
            } else if !form.quiet {
                println!("set aside {} layers, {}{}", gone.layers, size(gone.size_bytes), under_way(&gone));
            }
            Ok(ExitCode::SUCCESS)
        }
        Act::Du => du(templates, form).await,
        Act::Verify => verify(templates, form).await,
    }
}

/// What is left to do, for people.
fn under_way(gone: &CollectedLayers) -> String {
    match gone.removing {
        0 => String::new(),
        1 => "; the server is removing 1 layer".to_owned(),
        n => format!("; the server is removing {n} layers"),
    }
}

async fn list(templates: &Templates, form: Form) -> Result<ExitCode> {
    let steps = templates.cached_steps().await.context("list the cache")?;
    if form.json {
        print_json(&steps)?;
    } else if form.quiet {
        print_lines(steps.iter().map(|step| &step.key));
    } else {
        let mut table = Table::new(&["KEY", "SIZE", "IN USE", "LAST USED", "STEP"]);
        for step in &steps {
            let used = if step.in_use { "yes" } else { "no" }.to_owned();
            let last = step.last_used_at.to_string();
            table.row(vec![step.key.clone(), size(step.size_bytes), used, last, first_line(step)]);
        }
        table.print();
    }
    Ok(ExitCode::SUCCESS)
}

async fn forget(templates: &Templates, keys: Vec<String>, form: Form) -> Result<ExitCode> {
    let (mut done, mut all) = (Vec::new(), true);
    for key in keys {
        let found = templates.forget_step(&key).await.with_context(|| format!("forget {key}"))?;
        all &= found;
        if form.is_talkative() {
            println!("{key}: {}", if found { "forgotten" } else { "not found" });
        }
        done.push(json!({ "key": key, "forgotten": found }));
    }
    finish(&done, all, form)
}

async fn du(templates: &Templates, form: Form) -> Result<ExitCode> {
    let steps = templates.cached_steps().await.context("list the cache")?;
    let sum = |wanted: fn(&CachedStep) -> bool| -> u64 {
        steps.iter().filter(|step| wanted(step)).map(|step| step.size_bytes).sum()
    };
    let (all, in_use) = (sum(|_| true), sum(|step| step.in_use));
    if form.json {
        print_json(&json!({ "steps": steps.len(), "sizeBytes": all, "inUseBytes": in_use }))?;
    } else if form.quiet {
        println!("{all}");
    } else {
        println!("{} steps, {}; in use {}", steps.len(), size(all), size(in_use));
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(templates: &Templates, form: Form) -> Result<ExitCode> {
    let verified = templates.verify_layers().await.context("verify the layers")?;
    if form.json {
        print_json(&verified)?;
    } else if form.quiet {
        print_lines(verified.damaged.iter().map(|one| &one.layer));
    } else {
        for one in &verified.damaged {
            println!("{}: {}", one.layer, one.reason);
        }
        let (layers, damaged) = (verified.layers, verified.damaged.len());
        println!("{layers} layers, {} read; {damaged} damaged", size(verified.size_bytes));
    }
    Ok(if verified.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn first_line(step: &CachedStep) -> String {
    step.title.lines().next().unwrap_or_default().chars().take(80).collect()
}

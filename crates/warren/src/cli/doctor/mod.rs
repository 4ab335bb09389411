//! `warren doctor`: what this host and the server's settings lack, and what to do about it.
//!
//! Three parts: the host ([`runtime::namespaces::probe`]), what the settings name
//! ([`settings`]), and checkpoints with memory, which are tried ([`apart`]). Nothing
//! of the server's is touched or waited for: it may run meanwhile.

mod apart;
mod row;
mod settings;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use model::Isolation;
use runtime::namespaces;

pub(crate) use apart::sweep;

use self::row::Row;
use super::form::{Form, print_json, print_lines};
use crate::config::{self, Flags, Options};
use crate::up::backend;

/// What a shared kernel means, said where people decide.
const ONE_KERNEL: &str = "\
Isolation `namespaces` puts every sandbox behind namespaces, limits and a system call filter, but all of them share this
host's kernel: a hole in it that is reachable through the allowed calls is a way out. For programs of people who would
attack this host on purpose, use a machine that holds nothing else. SECURITY.md says what each barrier stops.";

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Settings are read as `warren up` reads them: give the options that it gets.\n\
                        Example: warren doctor --quiet && warren up")]
pub(crate) struct Command {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    flags: Flags,
}

/// Prints the findings; fails when something required is missing.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    let rows = find_out(&command.flags);
    let lacking = rows.iter().filter(|row| row.required && !row.ok).count();
    let status = if lacking == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if command.form.json {
        print_json(&rows)?;
        return Ok(status);
    }
    if command.form.quiet {
        print_lines(rows.iter().filter(|row| !row.ok).map(|row| &row.capability));
        return Ok(status);
    }
    for row in &rows {
        print!("{row}");
    }
    println!("\n{ONE_KERNEL}");
    match lacking {
        0 => println!("\nThis host can run sandboxes with these settings."),
        n => println!("\nThis host lacks {n} of the things that sandboxes need with these settings."),
    }
    Ok(status)
}

/// All three parts, in the order in which one depends on the other.
fn find_out(flags: &Flags) -> Vec<Row> {
    let settings = config::load(flags);
    let simulated = settings.as_ref().is_ok_and(|options| options.isolation == Isolation::Sim);
    // Simulated machines need nothing of the host.
    let mut rows: Vec<Row> =
        if simulated { Vec::new() } else { namespaces::probe().into_iter().map(Row::from).collect() };
    let can_run = rows.iter().all(|row| row.ok || !row.required);
    rows.push(settings::source(flags, &settings));
    let Ok(options) = settings else { return rows };
    rows.extend(settings::judge(&options));
    if !simulated {
        rows.extend(checkpoints(&options, can_run));
    }
    rows
}

/// The tool, and what it can do.
fn checkpoints(options: &Options, can_run: bool) -> Vec<Row> {
    let tool = backend::criu(options);
    let found = tool.as_ref().map(|tool| tool.path().display().to_string()).map_err(Clone::clone);
    let advice = "pauses keep files only; cargo xtask up fetches CRIU, or node.criu names it";
    let found = Row::optional("checkpoint tool", found, advice);
    let name = "pauses with memory";
    let tried = match tool {
        Err(_) => Row::optional(name, Err("there is no checkpoint tool".to_owned()), advice),
        Ok(_) if !can_run => {
            let reason = "not tried: no machine can be started here yet".to_owned();
            Row::optional(name, Err(reason), "mend what is MISSING above first")
        }
        Ok(tool) => match apart::try_memory(options, tool) {
            Ok(said) => Row::optional(name, Ok(said), ""),
            Err(apart::Unproved { reason, advice }) => Row::optional(name, Err(reason), advice),
        },
    };
    vec![found, tried]
}

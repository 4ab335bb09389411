//! `warren doctor`: what this host can do, what it lacks, and what to do about it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use runtime::namespaces;
use serde_json::json;

use super::form::{Form, print_json, print_lines};

/// What a shared kernel means, said where people decide.
const ONE_KERNEL: &str = "\
Isolation `namespaces` puts every sandbox behind namespaces, limits and a system call filter, but all of them share this
host's kernel: a hole in it that is reachable through the allowed calls is a way out. For programs of people who would
attack this host on purpose, use a machine that holds nothing else. SECURITY.md says what each barrier stops.";

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Example: warren doctor --quiet && warren up")]
pub(crate) struct Command {
    #[command(flatten)]
    form: Form,
}

/// Prints the findings; fails when something required is missing.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    let findings = namespaces::probe();
    let lacking = findings.iter().filter(|finding| finding.required && !finding.ok).count();
    let status = if lacking == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if command.form.json {
        let rows = findings.iter().map(|finding| {
            json!({
                "capability": finding.capability, "ok": finding.ok, "required": finding.required,
                "detail": finding.detail, "advice": finding.advice,
            })
        });
        print_json(&rows.collect::<Vec<_>>())?;
        return Ok(status);
    }
    if command.form.quiet {
        let missing = findings.iter().filter(|finding| !finding.ok);
        print_lines(missing.map(|finding| &finding.capability));
        return Ok(status);
    }
    for finding in &findings {
        let mark = match (finding.ok, finding.required) {
            (true, _) => "ok     ",
            (false, true) => "MISSING",
            (false, false) => "missing",
        };
        println!("{mark}  {:<20}  {}", finding.capability, finding.detail);
        if !finding.ok {
            println!("         {:<20}  → {}", "", finding.advice);
        }
    }
    println!("\n{ONE_KERNEL}");
    if lacking == 0 {
        println!("\nThis host can run sandboxes.");
    } else {
        println!("\nThis host lacks {lacking} of the things that sandboxes need.");
    }
    Ok(status)
}

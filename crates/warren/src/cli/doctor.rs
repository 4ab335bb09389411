//! `warren doctor`: what this host can do, what it lacks, and what to do about it.

use std::process::ExitCode;

use runtime::namespaces;

/// What a shared kernel means, said where people decide.
const ONE_KERNEL: &str = "\
Isolation `namespaces` puts every sandbox behind namespaces, limits and a system call filter, but all of them share this
host's kernel: a hole in it that is reachable through the allowed calls is a way out. For programs of people who would
attack this host on purpose, use a machine that holds nothing else. SECURITY.md says what each barrier stops.";

/// Prints the findings; fails when something required is missing.
pub(crate) fn run() -> ExitCode {
    let findings = namespaces::probe();
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
    let lacking = findings.iter().filter(|finding| finding.required && !finding.ok).count();
    if lacking == 0 {
        println!("\nThis host can run sandboxes.");
        return ExitCode::SUCCESS;
    }
    println!("\nThis host lacks {lacking} of the things that sandboxes need.");
    ExitCode::FAILURE
}

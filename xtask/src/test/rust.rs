//! The Rust tests, by nextest where it is installed, else by cargo itself. Nextest
//! runs no examples in documentation: those are cargo's in any case.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::skips::{self, Skips};
use crate::clients::python::Venv;
use crate::command::{cargo, output, say};
use crate::tally::Tally;

/// What the interpreter's tests import; the versions are the template's.
const PYTHON: &[&str] =
    &["ipykernel", "ipython", "orjson", "e2b_charts", "matplotlib", "numpy", "pandas", "pillow"];
/// Names a Python that has them to those tests.
const PYTHON_VARIABLE: &str = "WARREN_TEST_PYTHON";

/// Runs every Rust test of the workspace into the score.
pub(super) fn run(tally: &mut Tally) {
    say("Rust tests");
    match tests() {
        Ok(Counts { passed, failed, skipped }) => tally.add("Rust tests", passed, failed, skipped),
        Err(error) => tally.fail("Rust tests", &format!("{error:#}")),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

fn tests() -> anyhow::Result<Counts> {
    let nextest = output(cargo().args(["nextest", "--version"])).is_ok_and(|output| output.status.success());
    let mut counts = Counts::default();
    let skips = Skips::new()?;
    let python = python();
    let cargo = || {
        let mut cargo = cargo();
        cargo.env(skips::VARIABLE, skips.file());
        if let Some(python) = &python {
            cargo.env(PYTHON_VARIABLE, python);
        }
        cargo
    };
    if nextest {
        let mut command = cargo();
        command.args(["nextest", "run", "--release", "--workspace", "--no-fail-fast"]).stderr(Stdio::piped());
        count(&mut command, &mut counts)?;
    } else {
        println!("    (cargo-nextest is not installed: running cargo test)");
    }
    let mut command = cargo();
    command.args(["test", "--release", "--workspace", "--no-fail-fast"]).stdout(Stdio::piped());
    count(if nextest { command.arg("--doc") } else { &mut command }, &mut counts)?;
    counts.skip(skips.tell()?);
    Ok(counts)
}

/// The Python of the interpreter's tests, unless somebody named another. They skip
/// themselves where there is none, as without a network.
fn python() -> Option<PathBuf> {
    if std::env::var_os(PYTHON_VARIABLE).is_some() {
        return None;
    }
    let made = template_packages().and_then(|packages| {
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        Venv::ensure("interpreter", &packages)
    });
    match made {
        Ok(venv) => Some(venv.program("python")),
        Err(error) => {
            println!("    no Python for the interpreter's tests: {error:#}");
            None
        }
    }
}

/// [`PYTHON`] with the versions that the template has.
fn template_packages() -> anyhow::Result<Vec<String>> {
    let file = crate::repo::root().join("templates/code-interpreter/requirements.txt");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let version = |name: &&str| {
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with("==")));
        line.map(str::to_owned).with_context(|| format!("{} has no version of {name}", file.display()))
    };
    PYTHON.iter().map(version).collect()
}

/// Nextest writes its summary to standard error, cargo to standard output; both
/// are shown as they come.
fn count(command: &mut Command, counts: &mut Counts) -> anyhow::Result<()> {
    let failed = counts.failed;
    let mut child = command.spawn().context("start the tests")?;
    let reader: Box<dyn std::io::Read> = match (child.stderr.take(), child.stdout.take()) {
        (Some(stderr), _) => Box::new(stderr),
        (None, Some(stdout)) => Box::new(stdout),
        (None, None) => anyhow::bail!("the tests have no output"),
    };
    for line in BufReader::new(reader).lines() {
        let line = line.context("read the tests' output")?;
        println!("{line}");
        counts.read(&line);
    }
    let status = child.wait().context("wait for the tests")?;
    anyhow::ensure!(
        status.success() || counts.failed > failed,
        "the tests ended with {status} before their summary"
    );
    Ok(())
}

impl Counts {
    /// So many of those that passed did not run.
    fn skip(&mut self, n: u64) {
        // One that failed after it was skipped is a failure, and no success to take back.
        let n = n.min(self.passed);
        self.passed -= n;
        self.skipped += n;
    }

    /// Reads `Summary [ 1.2s] 9 tests run: 7 passed (1 slow), 2 failed, 1 skipped`
    /// of nextest or `test result: ok. 7 passed; 2 failed; 1 ignored; …` of cargo.
    fn read(&mut self, line: &str) {
        // What a failing test printed comes indented: its own score is no score of ours.
        let summary = match line.strip_prefix("test result:") {
            Some(summary) => Some(summary),
            None => line
                .trim_start()
                .strip_prefix("Summary")
                .and_then(|rest| rest.split_once("tests run:").or_else(|| rest.split_once("test run:")))
                .map(|(_, summary)| summary),
        };
        let Some(summary) = summary else { return };
        let words: Vec<&str> = summary.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].trim_start_matches('(').parse::<u64>() else { continue };
            match pair[1].trim_end_matches(')') {
                "passed" => self.passed += count,
                "failed" | "timed" => self.failed += count,
                "skipped" | "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_summaries() {
        let mut counts = Counts::default();
        counts.read(
            "     Summary [   0.019s] 9 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 3 skipped",
        );
        assert_eq!(counts, Counts { passed: 6, failed: 3, skipped: 3 });
        counts.read("test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        assert_eq!(counts, Counts { passed: 13, failed: 3, skipped: 4 });
        counts.read("    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 8 filtered out");
        assert_eq!(counts.failed, 3);
        counts.read("Starting 9 tests across 4 binaries");
        assert_eq!(counts.passed, 13);
        counts.skip(4);
        assert_eq!(counts, Counts { passed: 9, failed: 3, skipped: 8 });
    }

    #[test]
    fn the_template_has_what_the_interpreters_tests_import() {
        assert_eq!(template_packages().unwrap().len(), PYTHON.len());
    }
}

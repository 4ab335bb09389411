//! Counts what passed, failed and was skipped, and says it in one closing line.

use std::time::Instant;

/// The score of one run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    skipped: u64,
    failures: Vec<String>,
}

/// Why a step did not run.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl Tally {
    /// Runs one step and counts it. A failure is shown and does not stop the rest.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<Option<Skip>>) {
        crate::command::say(name);
        let start = Instant::now();
        match step() {
            Ok(None) => {
                self.passed += 1;
                println!("    passed: {name} ({:.1} s)", start.elapsed().as_secs_f64());
            }
            Ok(Some(Skip(reason))) => {
                self.skipped += 1;
                println!("    SKIPPED: {name}: {reason}");
            }
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
    }

    /// Adds the score of a suite that counts by itself.
    pub(crate) fn add(&mut self, suite: &str, passed: u64, failed: u64, skipped: u64) {
        println!("    {suite}: {passed} passed, {failed} failed, {skipped} skipped");
        self.passed += passed;
        self.skipped += skipped;
        self.failures.extend((0..failed).map(|i| format!("{suite} #{}", i + 1)));
    }

    /// Counts one failure.
    pub(crate) fn fail(&mut self, name: &str, why: &str) {
        println!("    FAILED: {name}: {why}");
        self.failures.push(name.to_owned());
    }

    /// Whether anything failed so far.
    pub(crate) fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Prints the closing line; an error when anything failed.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        for name in &self.failures {
            println!("failed: {name}");
        }
        println!("\n{} passed, {} failed, {} skipped", self.passed, self.failures.len(), self.skipped);
        anyhow::ensure!(self.failures.is_empty(), "{} failed", self.failures.len());
        Ok(())
    }
}

//! How answers are written: tables and sentences for people, one JSON document
//! for programs, bare ids and values for scripts.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Switches that every group of commands takes.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Form {
    /// Print JSON, one document.
    #[arg(long, global = true, conflicts_with = "quiet")]
    pub(super) json: bool,
    /// Print only what was asked for: ids, values.
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
}

impl Form {
    /// Whether there is room for sentences, hints and bars.
    pub(super) fn is_talkative(self) -> bool {
        !self.json && !self.quiet
    }

    /// A bar of bytes on a terminal; nothing elsewhere.
    pub(super) fn byte_bar(self, length: Option<u64>) -> ProgressBar {
        let bar = self.bar(length);
        let template = match length {
            Some(_) => "{wide_msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{wide_msg} {spinner} {bytes} {bytes_per_sec}",
        };
        styled(bar, template)
    }

    /// A line that shows that something goes on, on a terminal.
    pub(super) fn spinner(self, says: &str) -> ProgressBar {
        let bar = styled(self.bar(None), "{spinner} {wide_msg} {elapsed}");
        bar.set_message(says.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn bar(self, length: Option<u64>) -> ProgressBar {
        let shown = self.is_talkative() && io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        ProgressBar::with_draw_target(length, target)
    }
}

/// The template is a constant; a mistake in it leaves the default style.
fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Prints one JSON document.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value).context("write the answer as JSON")?);
    Ok(())
}

/// Prints each on a line of its own.
pub(super) fn print_lines<L: fmt::Display>(lines: impl IntoIterator<Item = L>) {
    for line in lines {
        println!("{line}");
    }
}

/// Whether colours and bold letters are wanted on standard output.
pub(super) fn has_colours() -> bool {
    io::stdout().is_terminal() && !crate::config::wants_plain_text()
}

/// Bytes in the unit that people say.
pub(super) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A time in the two units that matter.
pub(super) fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_said_as_people_say_them() {
        let times = [5, 65, 7_260].map(|seconds| lasting(Duration::from_secs(seconds)));
        assert_eq!(times, ["5 s", "1 min 5 s", "2 h 1 min"]);
        assert_eq!(size(3 << 20), "3.00 MiB");
    }
}

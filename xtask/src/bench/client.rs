//! What the Rust client costs: a call beside the same request written by hand,
//! and taking a warm member of its pool. The client's own example measures.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::measure::Series;
use super::target::Target;
use crate::command::{cargo, output};

const BY_HAND: &str = "`GET /sandboxes/{id}` by hand, and its JSON read";

/// Adds the rows.
pub(super) fn measure(target: &Target, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut example = cargo();
    example.args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "warren-sdk",
        "--example",
        "sdk",
        "--",
        "measure",
    ]);
    let output = output(lead(target, &mut example)).context("run the client's measurements")?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "the client's measurements failed: {text}");
    let by_library = Series::ms("the same by the Rust client").over(BY_HAND).promised_times(1.15);
    let acquire = Series::ms("`SandboxPool::acquire` of a warm member").promised(1.0);
    let wanted = [(Series::ms(BY_HAND), "by hand"), (by_library, "by library"), (acquire, "acquire")];
    for (mut row, name) in wanted {
        values(&text, name)?.into_iter().for_each(|time| row.push(time));
        rows.push(row);
    }
    Ok(())
}

fn lead<'a>(target: &Target, command: &'a mut Command) -> &'a mut Command {
    let url = format!("http://{}", target.address());
    command.env("E2B_API_URL", &url).env("E2B_SANDBOX_URL", url).env("E2B_API_KEY", target.api_key())
}

/// The line of values with this name.
fn values(text: &str, name: &str) -> anyhow::Result<Vec<Duration>> {
    let prefix = format!("values of {name}: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    let line = line.with_context(|| format!("find the values of {name}"))?;
    let nanos = line.split(' ').map(|value| value.parse().map(Duration::from_nanos));
    nanos.collect::<Result<_, _>>().with_context(|| format!("read the values of {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values() {
        let text = "info: …\nvalues of by hand: 1000 2000\nvalues of acquire: 5\n";
        assert_eq!(values(text, "by hand").unwrap(), [Duration::from_micros(1), Duration::from_micros(2)]);
        assert!(values(text, "by library").is_err());
    }
}

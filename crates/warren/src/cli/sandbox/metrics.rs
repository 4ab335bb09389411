//! `warren sandbox metrics`: what a sandbox uses, once or as it changes.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use clap::Args;
use sdk::{Config, ErrorKind, Metrics as Sample, Sandbox};
use serde_json::{Value, json};

use super::super::form::{Form, print_json, print_lines, size};
use super::unix_seconds;

/// Between two questions of `-f`; samples come every few seconds.
const PAUSE: Duration = Duration::from_secs(1);

const HEAD: [&str; 7] = ["TIME (UTC)", "CPU", "MEMORY", "OF", "CACHE", "DISK", "OF"];

/// Wide enough for every value and, together, for a terminal of 80 columns:
/// lines that come one by one cannot be fitted to each other.
const WIDTHS: [usize; 7] = [10, 7, 10, 10, 10, 10, 10];

/// Options of `metrics`.
#[derive(Debug, Args)]
pub(super) struct Metrics {
    /// The sandbox.
    id: String,
    /// Go on until the sandbox ends.
    #[arg(long, short)]
    follow: bool,
    /// Only the last so many seconds.
    #[arg(long, value_name = "SECONDS")]
    since: Option<u64>,
}

/// Runs the command. With `-f`, `--json` prints a document a line, as they come.
pub(super) async fn run(config: &Config, metrics: Metrics, form: Form) -> Result<ExitCode> {
    let sandbox = Sandbox::detached(config, &metrics.id)?;
    let from = metrics.since.and_then(|ago| SystemTime::now().checked_sub(Duration::from_secs(ago)));
    if metrics.follow {
        return follow(&sandbox, from, form).await;
    }
    Sandbox::info_of(config, &metrics.id).await.context("find the sandbox")?;
    let samples = sandbox.metrics(from, None).await.context("read what it used")?;
    if form.json {
        print_json(&samples.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        show_head(form);
        print_lines(samples.iter().map(|sample| line(&cells(sample))));
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(sandbox: &Sandbox, mut from: Option<SystemTime>, form: Form) -> Result<ExitCode> {
    let mut newest = None;
    show_head(form);
    loop {
        let there = match sandbox.info().await {
            Ok(_) => true,
            Err(e) if e.kind() == ErrorKind::SandboxNotFound && newest.is_some() => false,
            Err(e) => return Err(e).context("find the sandbox"),
        };
        let samples = sandbox.metrics(from, None).await.context("read what it used")?;
        for sample in samples.iter().filter(|sample| newest.is_none_or(|newest| sample.at > newest)) {
            if form.json {
                println!("{}", as_json(sample));
            } else {
                println!("{}", line(&cells(sample)));
            }
        }
        newest = samples.iter().map(|sample| sample.at).max().or(newest);
        if !there {
            return Ok(ExitCode::SUCCESS);
        }
        from = newest.or(from);
        tokio::time::sleep(PAUSE).await;
    }
}

fn show_head(form: Form) {
    if form.is_talkative() {
        println!("{}", line(&HEAD.map(str::to_owned)));
    }
}

fn line(cells: &[String; 7]) -> String {
    let cells = cells.iter().zip(WIDTHS);
    cells.map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn cells(sample: &Sample) -> [String; 7] {
    [
        clock(sample.at),
        format!("{:.1} %", sample.cpu_used_pct),
        size(sample.memory_used),
        size(sample.memory_total),
        size(sample.memory_cache),
        size(sample.disk_used),
        size(sample.disk_total),
    ]
}

fn clock(at: SystemTime) -> String {
    let seconds = unix_seconds(at) % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn as_json(sample: &Sample) -> Value {
    json!({
        "timestampUnix": unix_seconds(sample.at),
        "cpuCount": sample.cpu_count,
        "cpuUsedPct": sample.cpu_used_pct,
        "memUsed": sample.memory_used,
        "memTotal": sample.memory_total,
        "memCache": sample.memory_cache,
        "diskUsed": sample.disk_used,
        "diskTotal": sample.disk_total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_line() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 + 3_661);
        let (memory_used, memory_total, memory_cache) = (1 << 20, 1 << 30, 0);
        let (disk_used, disk_total) = (2 << 20, 10 << 30);
        let sample = Sample {
            at,
            cpu_count: 2,
            cpu_used_pct: 12.54,
            memory_used,
            memory_total,
            memory_cache,
            disk_used,
            disk_total,
        };
        assert_eq!(
            line(&cells(&sample)),
            "01:01:01    12.5 %   1.00 MiB    1.00 GiB    0 B         2.00 MiB    10.00 GiB"
        );
    }
}

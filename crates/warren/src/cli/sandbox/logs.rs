//! `warren sandbox logs`: what a sandbox had to tell, once or as it comes.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use sdk::{Config, ErrorKind, LogLine, Sandbox};
use serde_json::json;

use super::super::form::{Form, has_colours};
use super::super::table::plain;

/// Between two questions of `-f`.
const PAUSE: Duration = Duration::from_millis(400);

/// Options of `logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The sandbox; also one that has ended within the last days.
    id: String,
    /// Go on until the sandbox ends.
    #[arg(long, short)]
    follow: bool,
    /// Leave out what is less grave.
    #[arg(long, value_name = "LEVEL", default_value = "debug")]
    level: Level,
    /// Only the last so many seconds.
    #[arg(long, value_name = "SECONDS")]
    since: Option<u64>,
    /// At most so many lines, the oldest.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// A level that is not known is shown always.
    fn of(line: &LogLine) -> Self {
        match line.level.to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            _ => Self::Error,
        }
    }
}

/// Runs the command. `--json` prints a document a line, as they come.
pub(super) async fn run(config: &Config, logs: Logs, form: Form) -> Result<ExitCode> {
    let sandbox = Sandbox::detached(config, &logs.id)?;
    let mut from = logs.since.and_then(|ago| SystemTime::now().checked_sub(Duration::from_secs(ago)));
    let mut at_last = Vec::new();
    loop {
        // First whether it lives, then its lines: what it said at its end is not missed.
        let goes_on = logs.follow && is_there(config, &logs.id).await?;
        let lines = sandbox.logs(from, logs.limit).await.context("read the log")?;
        let fresh: Vec<LogLine> = lines.into_iter().filter(|line| !at_last.contains(line)).collect();
        for line in fresh.iter().filter(|line| Level::of(line) >= logs.level) {
            println!("{}", text(line, form.json, has_colours()));
        }
        if !goes_on {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(newest) = fresh.iter().map(|line| line.at).max() {
            // The server counts in milliseconds: what came in the last one is asked for again.
            let edge = newest - Duration::from_millis(1);
            at_last.extend(fresh);
            at_last.retain(|line: &LogLine| line.at >= edge);
            from = Some(newest);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn is_there(config: &Config, id: &str) -> Result<bool> {
    match Sandbox::info_of(config, id).await {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::SandboxNotFound => Ok(false),
        Err(e) => Err(e).context("look at the sandbox"),
    }
}

fn text(line: &LogLine, as_json: bool, colours: bool) -> String {
    let at = time(line.at);
    if as_json {
        let fields =
            json!({ "timestamp": at, "level": line.level, "message": line.message, "fields": line.fields });
        return fields.to_string();
    }
    let colour = match Level::of(line) {
        _ if !colours => "",
        Level::Debug => "\u{1b}[2m",
        Level::Info => "\u{1b}[32m",
        Level::Warn => "\u{1b}[33m",
        Level::Error => "\u{1b}[31m",
    };
    let end = if colour.is_empty() { "" } else { "\u{1b}[0m" };
    let fields = line.fields.iter().map(|(name, value)| format!("{name}={}", plain(value)));
    let fields = fields.collect::<Vec<_>>().join("  ");
    let level = line.level.to_uppercase();
    format!("{at}  {colour}{:<5}{end}  {}  {fields}", plain(&level), plain(&line.message))
        .trim_end()
        .to_owned()
}

fn time(at: SystemTime) -> String {
    let micros = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    wire::rest::Rfc3339::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: &str, message: &str) -> LogLine {
        let fields = [("exit".to_owned(), "1".to_owned())].into();
        LogLine { at: SystemTime::UNIX_EPOCH, level: level.into(), message: message.into(), fields }
    }

    #[test]
    fn lines_are_plain_and_cannot_steer_the_terminal() {
        let shown = text(&line("warn", "a\u{1b}[2Jb\nc"), false, false);
        assert!(shown.ends_with("WARN   a\u{fffd}[2Jb\u{fffd}c  exit=1"), "{shown:?}");
        assert!(text(&line("info", "x"), false, true).contains("\u{1b}[32mINFO \u{1b}[0m"));
        let value: serde_json::Value = serde_json::from_str(&text(&line("error", "x"), true, true)).unwrap();
        assert_eq!((value["level"].as_str(), value["fields"]["exit"].as_str()), (Some("error"), Some("1")));
    }

    #[test]
    fn graver_levels_are_greater() {
        assert!(Level::of(&line("warn", "")) > Level::of(&line("INFO", "")));
        assert_eq!(Level::of(&line("new", "")), Level::Error);
    }
}

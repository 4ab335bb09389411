//! The server's log: lines on standard error.

use anyhow::{Context as _, Result};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Our own crates; libraries speak only of what went wrong.
const OURS: [&str; 8] = [
    "warren",
    "warren_control",
    "warren_node",
    "warren_proxy",
    "warren_runtime",
    "warren_sdk",
    "warren_store",
    "warren_sys",
];

/// Starts logging at this level.
pub(crate) fn start(level: &str) -> Result<()> {
    let level: LevelFilter = level.parse().with_context(|| format!("read the log level {level:?}"))?;
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.into_iter().map(|name| (name, level)));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    tracing_subscriber::registry().with(targets).with(lines).try_init().context("start the log")
}

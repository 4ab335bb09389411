//! The server's log: lines on standard error.

use anyhow::{Context as _, Result};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::traces;

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

/// Starts logging at this level, and tracing to a collector if there is one.
pub(crate) fn start(level: &str, otlp_endpoint: Option<&str>) -> Result<()> {
    let level: LevelFilter = level.parse().with_context(|| format!("read the log level {level:?}"))?;
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.into_iter().map(|name| (name, level)));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let traces = otlp_endpoint.map(traces::start).transpose()?;
    let of_traces = Targets::new().with_target(traces::TARGET, LevelFilter::INFO);
    // Without a collector nobody wants these, and they are never made.
    let targets = targets.with_target(traces::TARGET, LevelFilter::OFF);
    let traces = traces.map(|traces| traces.with_filter(of_traces));
    let lines = lines.with_filter(targets);
    tracing_subscriber::registry().with(lines).with(traces).try_init().context("start the log")
}

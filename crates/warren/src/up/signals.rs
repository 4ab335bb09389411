//! How a server is told to stop: once in order, twice at once.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What shells answer for a program that a signal ended.
const EXIT_BY_SIGNAL: i32 = 130;

/// Cancelled by the first SIGTERM or SIGINT. The second ends the process where
/// it stands; what is half-done then is mended by the next start.
pub(crate) fn stop_on_signal() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        first.cancel();
        either(&mut terminate, &mut interrupt).await;
        leave();
    });
    Ok(stop)
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}

#[expect(clippy::exit, reason = "the operator asked for it twice")]
fn leave() -> ! {
    std::process::exit(EXIT_BY_SIGNAL)
}

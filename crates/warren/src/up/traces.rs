//! Traces for the operator's collector: OTLP over HTTP, in its JSON form.
//!
//! ```text
//! spans of target `warren_trace` ─▶ layer ─▶ queue ─▶ thread ─ POST /v1/traces ─▶ collector
//! ```
//!
//! Nothing here holds anybody up: a span that finds the queue full is left out,
//! and so is a batch that the collector does not take. Why not the
//! OpenTelemetry crates: `docs/decisions`.

mod layer;

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

pub(super) use layer::Traces;

/// The target of everything that is traced.
pub(super) const TARGET: &str = "warren_trace";

/// Spans that wait for the next batch; more are left out.
const QUEUE: usize = 4_096;
/// Spans of one batch,
const BATCH: usize = 512;
/// which is sent at the latest after this.
const OFTEN: Duration = Duration::from_secs(1);
/// Each wait for the collector.
const LIMIT: Duration = Duration::from_secs(5);

/// Starts sending to a collector at `http://host:port`.
pub(super) fn start(collector: &str) -> Result<Traces> {
    let address = collector.strip_prefix("http://").context("otlp_endpoint must begin with http://")?;
    let address = address.trim_end_matches('/').to_owned();
    let (sender, spans) = sync_channel(QUEUE);
    let thread = std::thread::Builder::new().name("traces".to_owned());
    thread.spawn(move || send_all(&spans, &address)).context("start the thread that sends traces")?;
    Ok(Traces::new(sender))
}

fn send_all(spans: &Receiver<Value>, address: &str) {
    let mut is_failing = false;
    while let Some(batch) = next(spans) {
        match send(address, &batch) {
            Ok(()) => is_failing = false,
            // Said once, until it works again.
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::warn!(%error, collector = address, "traces are not taken; they are left out");
            }
            Err(_) => {}
        }
    }
}

/// Waits for a first span, then for as many as come along; `None` when nobody sends any more.
fn next(spans: &Receiver<Value>) -> Option<Vec<Value>> {
    let mut batch = vec![spans.recv().ok()?];
    let until = Instant::now() + OFTEN;
    while batch.len() < BATCH {
        match spans.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(span) => batch.push(span),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    Some(batch)
}

fn send(address: &str, spans: &[Value]) -> std::io::Result<()> {
    let service = json!({ "key": "service.name", "value": { "stringValue": "warren" } });
    let scope = json!({ "name": "warren", "version": env!("CARGO_PKG_VERSION") });
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": [service] },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }] })
    .to_string();
    let target = address.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("no such host"))?;
    let mut stream = TcpStream::connect_timeout(&target, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if status[9] == b'2' {
        return Ok(());
    }
    Err(std::io::Error::other(format!("it answered {}", String::from_utf8_lossy(&status[9..]))))
}

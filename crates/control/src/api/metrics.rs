//! `GET /sandboxes/{id}/metrics` and `GET /sandboxes/metrics`.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use model::{SandboxId, Timestamp};
use serde::Deserialize;
use wire::rest::{SandboxMetric, SandboxesMetrics};

use super::error::Failure;
use super::extract::{Fields, Id};
use super::sandbox::moment;
use crate::App;
use crate::app::{Caller, Sample};

const MOST_AT_ONCE: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Range {
    start: Option<u64>,
    end: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    sandbox_ids: String,
}

pub(super) async fn one(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    Fields(range): Fields<Range>,
) -> Result<Json<Vec<SandboxMetric>>, Failure> {
    if let (Some(start), Some(end)) = (range.start, range.end)
        && start > end
    {
        return Err(Failure::bad_request("Invalid time range for metrics"));
    }
    let start = range.start.map(|seconds| second(seconds, 0));
    // A second is whole: a sample within the last one counts.
    let end = range.end.map(|seconds| second(seconds, 999_999));
    let samples = app.samples(&caller, &id, start, end).await?;
    Ok(Json(samples.iter().map(metric).collect()))
}

pub(super) fn second(seconds: u64, micros: i64) -> Timestamp {
    let whole = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Timestamp::from_unix_micros(whole.saturating_add(micros))
}

pub(super) async fn many(
    State(app): State<App>,
    caller: Caller,
    Fields(which): Fields<Which>,
) -> Result<Json<SandboxesMetrics>, Failure> {
    let texts: BTreeSet<&str> = which.sandbox_ids.split(',').filter(|text| !text.is_empty()).collect();
    if texts.len() > MOST_AT_ONCE {
        let message = format!("Too many sandboxes requested, maximum is {MOST_AT_ONCE}");
        return Err(Failure::bad_request(message));
    }
    let mut answer = SandboxesMetrics::default();
    for text in texts {
        let id: SandboxId = text.parse().map_err(|_| Failure::bad_request("Invalid sandbox ID"))?;
        if let Some(sample) = app.latest_sample(&caller, &id) {
            answer.sandboxes.insert(id.to_string(), metric(&sample));
        }
    }
    Ok(Json(answer))
}

fn metric(sample: &Sample) -> SandboxMetric {
    let cache = sample.usage.memory_cache.as_u64();
    SandboxMetric {
        timestamp: moment(sample.at),
        timestamp_unix: sample.at.unix_micros().div_euclid(1_000_000),
        cpu_count: sample.resources.cpu_count,
        cpu_used_pct: (sample.cpu_used_percent * 100.0).round() / 100.0,
        mem_used: sample.usage.memory.as_u64().saturating_sub(cache),
        mem_total: sample.resources.memory.as_u64(),
        mem_cache: cache,
        disk_used: sample.usage.disk.as_u64(),
        disk_total: sample.resources.disk.as_u64(),
    }
}

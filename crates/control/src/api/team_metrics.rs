//! `GET /teams/{teamID}/metrics` and `/metrics/max`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use model::{TeamId, Timestamp};
use serde::Deserialize;
use wire::rest::{TeamMetric as Metric, TeamMetricMax};

use super::error::Failure;
use super::extract::{Fields, Part};
use super::metrics::second;
use super::sandbox::moment;
use crate::App;
use crate::app::{Caller, TeamMetric, shown};

const WINDOW: Duration = Duration::from_hours(7 * 24);

#[derive(Debug, Deserialize)]
pub(super) struct Range {
    start: Option<u64>,
    end: Option<u64>,
    metric: Option<String>,
}

impl Range {
    fn bounds(&self, app: &App) -> Result<(Timestamp, Timestamp), Failure> {
        let end = self.end.map_or_else(|| app.options().clock.now(), |end| second(end, 999_999));
        let start = self.start.map_or(end - WINDOW, |start| second(start, 0));
        if start > end {
            return Err(Failure::bad_request("Invalid time range for metrics"));
        }
        Ok((start, end))
    }
}

pub(super) async fn all(
    State(app): State<App>,
    caller: Caller,
    Part(id): Part<TeamId>,
    Fields(range): Fields<Range>,
) -> Result<Json<Vec<Metric>>, Failure> {
    let (start, end) = range.bounds(&app)?;
    let samples = shown(app.team_samples(&caller, id, start, end).await?);
    let one = |sample: &store::TeamSample| Metric {
        timestamp: moment(sample.at),
        timestamp_unix: unix(sample.at),
        concurrent_sandboxes: sample.concurrent,
        sandbox_start_rate: TeamMetric::StartRate.of(sample),
    };
    Ok(Json(samples.iter().map(one).collect()))
}

/// The highest value and when it was; 0 now where there is none.
pub(super) async fn max(
    State(app): State<App>,
    caller: Caller,
    Part(id): Part<TeamId>,
    Fields(range): Fields<Range>,
) -> Result<Json<TeamMetricMax>, Failure> {
    let metric = match range.metric.as_deref() {
        Some("concurrent_sandboxes") => TeamMetric::ConcurrentSandboxes,
        Some("sandbox_start_rate") => TeamMetric::StartRate,
        _ => {
            let text = "validation error: metric must be concurrent_sandboxes or sandbox_start_rate";
            return Err(Failure::bad_request(text));
        }
    };
    let (start, end) = range.bounds(&app)?;
    let samples = app.team_samples(&caller, id, start, end).await?;
    let highest = samples
        .iter()
        .map(|sample| (metric.of(sample), sample.at))
        .reduce(|a, b| if b.0 > a.0 { b } else { a });
    let (value, at) = highest.unwrap_or_else(|| (0.0, app.options().clock.now()));
    Ok(Json(TeamMetricMax { timestamp: moment(at), timestamp_unix: unix(at), value }))
}

fn unix(at: Timestamp) -> i64 {
    at.unix_micros().div_euclid(1_000_000)
}

//! What running sandboxes use: sampled, kept in memory, thinned with age.
//!
//! The last hour is kept in steps of a sample, the day before in steps of a
//! minute: at most 170 KB for a sandbox that lives a day. A restart of the
//! server starts the history anew; the node's records keep the peaks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use model::{Resources, SandboxId, TeamId, Timestamp};
use node::{Observation, Phase};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{App, Caller, Error};
use crate::Usage;

const FINE: usize = 720;
const COARSE: usize = 1440;
const COARSE_STEP: Duration = Duration::from_mins(1);

/// How long the series of an ended sandbox can still be read.
const KEEP_ENDED: Duration = Duration::from_hours(1);

/// Sandboxes that are asked at a time, and how long one may take.
const AT_A_TIME: usize = 16;
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What a sandbox used at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    /// Of all its processors together, 0 to 100, since the sample before.
    pub(crate) cpu_used_percent: f64,
    pub(crate) usage: Usage,
    pub(crate) resources: Resources,
}

#[derive(Debug)]
struct Series {
    team_id: TeamId,
    resources: Resources,
    fine: VecDeque<Sample>,
    coarse: VecDeque<Sample>,
    /// Moment and processor time of the sample before.
    last: (Timestamp, u64),
}

/// Every sandbox's series.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<HashMap<SandboxId, Series>>);

impl Series {
    fn new(row: &store::Sandbox, started_at: Timestamp) -> Self {
        Self {
            team_id: row.team_id,
            resources: row.resources,
            fine: VecDeque::new(),
            coarse: VecDeque::new(),
            last: (started_at, 0),
        }
    }

    fn push(&mut self, at: Timestamp, usage: Usage) {
        let (before, cpu_before) = self.last;
        let elapsed = at.since(before);
        if elapsed.is_zero() {
            return;
        }
        let busy = Duration::from_micros(usage.cpu_micros.saturating_sub(cpu_before));
        let capacity = elapsed.as_secs_f64() * f64::from(self.resources.cpu_count.max(1));
        let cpu_used_percent = (busy.as_secs_f64() / capacity * 100.0).clamp(0.0, 100.0);
        self.last = (at, usage.cpu_micros);
        if self.fine.len() == FINE
            && let Some(oldest) = self.fine.pop_front()
        {
            self.push_coarse(oldest);
        }
        self.fine.push_back(Sample { at, cpu_used_percent, usage, resources: self.resources });
    }

    fn push_coarse(&mut self, sample: Sample) {
        if self.coarse.back().is_some_and(|last| sample.at.since(last.at) < COARSE_STEP) {
            return;
        }
        if self.coarse.len() == COARSE {
            self.coarse.pop_front();
        }
        self.coarse.push_back(sample);
    }

    fn between(&self, start: Option<Timestamp>, end: Option<Timestamp>) -> Vec<Sample> {
        let wanted = |at: Timestamp| start.is_none_or(|start| at >= start) && end.is_none_or(|end| at <= end);
        let all = self.coarse.iter().chain(&self.fine).copied().filter(|sample| wanted(sample.at));
        thin(all.collect())
    }
}

/// Leaves the first sample of each step; the longer the range, the longer the step.
fn thin(samples: Vec<Sample>) -> Vec<Sample> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return samples };
    let step = step(last.at.since(first.at));
    let mut next = first.at;
    samples
        .into_iter()
        .filter(|sample| {
            let kept = sample.at >= next;
            if kept {
                next = sample.at + step;
            }
            kept
        })
        .collect()
}

/// Samples come a little early or late, so steps are a little short.
fn step(range: Duration) -> Duration {
    const HOUR: Duration = Duration::from_hours(1);
    match range {
        range if range < HOUR => Duration::ZERO,
        range if range < 6 * HOUR => Duration::from_secs(29),
        range if range < 12 * HOUR => Duration::from_secs(59),
        range if range < 24 * HOUR => Duration::from_secs(119),
        _ => Duration::from_secs(299),
    }
}

impl App {
    /// The samples of a sandbox between two moments, oldest first; none for an
    /// unknown one or another team's.
    pub(crate) fn samples(
        &self,
        caller: &Caller,
        id: &SandboxId,
        start: Option<Timestamp>,
        end: Option<Timestamp>,
    ) -> Vec<Sample> {
        let series = self.history();
        let own = series.get(id).filter(|series| series.team_id == caller.team.team_id);
        own.map_or_else(Vec::new, |series| series.between(start, end))
    }

    /// The latest sample of a sandbox of the caller's team.
    pub(crate) fn latest_sample(&self, caller: &Caller, id: &SandboxId) -> Option<Sample> {
        let series = self.history();
        let own = series.get(id).filter(|series| series.team_id == caller.team.team_id);
        own.and_then(|series| series.fine.back().copied())
    }

    /// Samples every running sandbox in steps until `stop`.
    pub(super) async fn sample_until(&self, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.options().sample_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.sample_all().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "sampling failed, to be tried again"
                );
            }
        }
    }

    /// One round over all running sandboxes.
    pub(crate) async fn sample_all(&self) -> Result<(), Error> {
        let mut running = self.node().list();
        running.retain(|seen| seen.phase == Phase::Running);
        self.begin_series(&running).await?;
        let ids: HashSet<SandboxId> = running.into_iter().map(|seen| seen.sandbox_id).collect();
        let each: Vec<SandboxId> = ids.iter().cloned().collect();
        futures_util::stream::iter(each)
            .for_each_concurrent(AT_A_TIME, async |id| self.sample(&id).await)
            .await;
        let now = self.options().clock.now();
        let mut series = self.history();
        series.retain(|id, series| ids.contains(id) || now.since(series.last.0) < KEEP_ENDED);
        Ok(())
    }

    async fn begin_series(&self, running: &[Observation]) -> Result<(), Error> {
        for seen in running {
            let is_known = self.history().contains_key(&seen.sandbox_id);
            if !is_known && let Some(row) = self.store().sandbox(&seen.sandbox_id).await? {
                self.history().insert(seen.sandbox_id.clone(), Series::new(&row, seen.started_at));
            }
        }
        Ok(())
    }

    /// A sandbox that does not answer has no sample this time.
    async fn sample(&self, id: &SandboxId) {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.node().usage(id)).await;
        let now = self.options().clock.now();
        match answer {
            Ok(Ok(usage)) => {
                if let Some(series) = self.history().get_mut(id) {
                    series.push(now, usage);
                }
            }
            Ok(Err(node::Error::NotFound(_) | node::Error::Ending(_))) => {}
            Ok(Err(error)) => {
                tracing::debug!(sandbox_id = %id, error = &error as &dyn std::error::Error, "no sample");
            }
            Err(_elapsed) => tracing::debug!(sandbox_id = %id, "no sample in time"),
        }
    }

    fn history(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, Series>> {
        self.0.history.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Timestamp {
        Timestamp::from_unix_micros(0) + Duration::from_secs(n)
    }

    fn series() -> Series {
        Series {
            team_id: TeamId::from_u128(1),
            resources: Resources::DEFAULT,
            fine: VecDeque::new(),
            coarse: VecDeque::new(),
            last: (second(0), 0),
        }
    }

    #[test]
    fn percent_is_of_all_processors_since_the_sample_before() {
        let mut series = series();
        series.push(second(5), Usage { cpu_micros: 5_000_000, ..Usage::default() });
        series.push(second(10), Usage { cpu_micros: 5_000_000, ..Usage::default() });
        let percents: Vec<f64> = series.between(None, None).iter().map(|s| s.cpu_used_percent).collect();
        assert_eq!(percents, [50.0, 0.0]);
    }

    #[test]
    fn a_long_life_is_bounded_and_thinned() {
        let mut series = series();
        for n in 1..=30 * 720 {
            series.push(second(n * 5), Usage::default());
        }
        assert_eq!((series.fine.len(), series.coarse.len()), (FINE, COARSE));
        let day = series.between(None, None);
        assert!((250..400).contains(&day.len()), "{}", day.len());
        assert!(day.windows(2).all(|pair| pair[0].at < pair[1].at));
        let end = second(30 * 3600);
        assert_eq!(series.between(Some(end - Duration::from_mins(10)), Some(end)).len(), 121);
        assert!(series.between(Some(end + COARSE_STEP), None).is_empty());
    }
}

//! What running sandboxes use: sampled, kept in memory, thinned with age.
//!
//! The last hour is kept in steps of a sample, the day before in steps of a
//! minute: at most 170 KB for a sandbox that lives a day. Once a minute, and at
//! its end, what is new goes to a file, from where a restarted server and those
//! who ask for an ended sandbox have it back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use model::{Resources, SandboxId, TeamId, Timestamp};
use node::{Observation, Phase};
use store::UsageSample;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{App, Caller, Error};
use crate::Usage;

const FINE: usize = 720;
const COARSE: usize = 1440;
const COARSE_STEP: Duration = Duration::from_mins(1);

/// Samples that wait for being written: about a minute's.
const UNWRITTEN: usize = 12;

/// Sandboxes that are asked at a time, and how long one may take.
const AT_A_TIME: usize = 16;
/// A sandbox that was busy for longer between two samples may have something to
/// tell; answering that takes its daemon much less.
const BUSY: Duration = Duration::from_millis(2);
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
    unwritten: Vec<Sample>,
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
            unwritten: Vec::new(),
            last: (started_at, 0),
        }
    }

    /// Answers how long its processors were busy since the sample before.
    fn push(&mut self, at: Timestamp, usage: Usage) -> Duration {
        let (before, cpu_before) = self.last;
        let elapsed = at.since(before);
        if elapsed.is_zero() {
            return Duration::ZERO;
        }
        let busy = Duration::from_micros(usage.cpu_micros.saturating_sub(cpu_before));
        let capacity = elapsed.as_secs_f64() * f64::from(self.resources.cpu_count.max(1));
        let cpu_used_percent = (busy.as_secs_f64() / capacity * 100.0).clamp(0.0, 100.0);
        self.last = (at, usage.cpu_micros);
        let sample = Sample { at, cpu_used_percent, usage, resources: self.resources };
        self.push_fine(sample);
        self.unwritten.push(sample);
        busy
    }

    fn push_fine(&mut self, sample: Sample) {
        if self.fine.len() == FINE
            && let Some(oldest) = self.fine.pop_front()
        {
            self.push_coarse(oldest);
        }
        self.fine.push_back(sample);
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
        thin(all.collect(), |sample| sample.at)
    }
}

/// Leaves the first sample of each step; the longer the range, the longer the step.
pub(super) fn thin<T>(samples: Vec<T>, at: impl Fn(&T) -> Timestamp) -> Vec<T> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return samples };
    let step = step(at(last).since(at(first)));
    let mut next = at(first);
    samples
        .into_iter()
        .filter(|sample| {
            let kept = at(sample) >= next;
            if kept {
                next = at(sample) + step;
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
        range if range < 7 * 24 * HOUR => Duration::from_secs(299),
        _ => Duration::from_secs(899),
    }
}

impl App {
    /// The samples of a sandbox between two moments, oldest first; none for an
    /// unknown one or another team's.
    pub(crate) async fn samples(
        &self,
        caller: &Caller,
        id: &SandboxId,
        start: Option<Timestamp>,
        end: Option<Timestamp>,
    ) -> Result<Vec<Sample>, Error> {
        let theirs = |series: &Series| series.team_id == caller.team.team_id;
        let live = self.history().get(id).map(|series| theirs(series).then(|| series.between(start, end)));
        if let Some(own) = live {
            return Ok(own.unwrap_or_default());
        }
        match self.row_of(caller, id).await {
            Ok(_) | Err(Error::SandboxEnded { .. }) => {}
            Err(Error::NoSandbox(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let mut kept = self.kept_samples(id).await;
        kept.retain(|one| start.is_none_or(|start| one.at >= start) && end.is_none_or(|end| one.at <= end));
        Ok(thin(kept, |sample| sample.at))
    }

    async fn kept_samples(&self, id: &SandboxId) -> Vec<Sample> {
        let Some(files) = &self.options().samples else { return Vec::new() };
        files.read(id).await.into_iter().map(from_kept).collect()
    }

    /// Writes what is new of the series that are due, and lets go of those that
    /// have ended.
    fn write_samples(&self, running: Option<&HashSet<SandboxId>>) {
        let has_ended = |id: &SandboxId| running.is_none_or(|running| !running.contains(id));
        let mut history = self.history();
        for (id, series) in history.iter_mut() {
            if series.unwritten.len() >= UNWRITTEN || (has_ended(id) && !series.unwritten.is_empty()) {
                let new: Vec<UsageSample> = series.unwritten.drain(..).map(to_kept).collect();
                if let Some(files) = &self.options().samples {
                    files.append(id, &new);
                }
            }
        }
        history.retain(|id, _| !has_ended(id));
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
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                // What is running goes on under the next server.
                self.write_samples(None);
                return;
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
        self.keep_logs_of(&ids);
        self.sample_teams();
        self.write_samples(Some(&ids));
        Ok(())
    }

    async fn begin_series(&self, running: &[Observation]) -> Result<(), Error> {
        for seen in running {
            let is_known = self.history().contains_key(&seen.sandbox_id);
            if !is_known && let Some(row) = self.store().sandbox(&seen.sandbox_id).await? {
                let mut series = Series::new(&row, seen.started_at);
                for sample in self.kept_samples(&seen.sandbox_id).await {
                    series.push_fine(sample);
                }
                self.history().insert(seen.sandbox_id.clone(), series);
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
                let busy = self.history().get_mut(id).map(|series| series.push(now, usage));
                // Whatever started or ended inside took some time of a processor.
                if busy.unwrap_or_default() > BUSY {
                    self.fetch_log(id).await;
                }
            }
            Ok(Err(node::Error::NotFound(_) | node::Error::Ending(_))) => {}
            Ok(Err(error)) => {
                tracing::debug!(sandbox_id = %id, error = &error as &dyn std::error::Error, "no sample");
            }
            Err(_elapsed) => tracing::debug!(sandbox_id = %id, "no sample in time"),
        }
    }

    /// How many sandboxes of each team are sampled.
    pub(super) fn sampled_by_team(&self) -> HashMap<TeamId, u32> {
        let mut counts = HashMap::new();
        for series in self.history().values() {
            *counts.entry(series.team_id).or_default() += 1;
        }
        counts
    }

    fn history(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, Series>> {
        self.0.history.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
fn to_kept(sample: Sample) -> UsageSample {
    UsageSample {
        at: sample.at,
        cpu_hundredths: (sample.cpu_used_percent * 100.0).round() as u32,
        memory: sample.usage.memory,
        memory_cache: sample.usage.memory_cache,
        disk: sample.usage.disk,
        resources: sample.resources,
    }
}

fn from_kept(sample: UsageSample) -> Sample {
    Sample {
        at: sample.at,
        cpu_used_percent: f64::from(sample.cpu_hundredths) / 100.0,
        usage: Usage {
            cpu_micros: 0,
            memory: sample.memory,
            memory_cache: sample.memory_cache,
            disk: sample.disk,
        },
        resources: sample.resources,
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
            unwritten: Vec::new(),
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

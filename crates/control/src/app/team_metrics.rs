//! How many sandboxes each team has over time, and how fast it starts them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::{TeamId, Timestamp};
use store::TeamSample;

use super::metrics::thin;
use super::{App, Caller, Error};

/// Between two samples of a team. One that has nothing and starts nothing has
/// one more, which says so, and then none.
const STEP: Duration = Duration::from_secs(15);

/// Starts since the last sample of each team, and what that was.
#[derive(Debug, Default)]
pub(super) struct Teams(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    started: HashMap<TeamId, u32>,
    concurrent: HashMap<TeamId, u32>,
    sampled_at: Option<Timestamp>,
}

/// What can be asked for the highest value of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TeamMetric {
    ConcurrentSandboxes,
    StartRate,
}

impl TeamMetric {
    /// Its value in a sample: a count, or starts a second.
    pub(crate) fn of(self, sample: &TeamSample) -> f64 {
        match self {
            Self::ConcurrentSandboxes => f64::from(sample.concurrent),
            Self::StartRate => f64::from(sample.started) * 1000.0 / f64::from(sample.span_ms.max(1)),
        }
    }
}

impl App {
    /// A sandbox of a team was started.
    pub(super) fn count_start(&self, team_id: TeamId) {
        *self.team_state().started.entry(team_id).or_default() += 1;
    }

    /// Takes a sample of every team of which there is something to say, if it is time.
    pub(super) fn sample_teams(&self) {
        let now = self.options().clock.now();
        let counts = self.sampled_by_team();
        let mut state = self.team_state();
        let before = *state.sampled_at.get_or_insert(now - STEP);
        if now.since(before) < STEP {
            return;
        }
        state.sampled_at = Some(now);
        let started = std::mem::take(&mut state.started);
        let earlier = std::mem::replace(&mut state.concurrent, counts.clone());
        drop(state);
        let Some(files) = &self.options().samples else { return };
        let mut teams: Vec<TeamId> =
            counts.keys().chain(started.keys()).chain(earlier.keys()).copied().collect();
        teams.sort_unstable();
        teams.dedup();
        let span_ms = u32::try_from(now.since(before).as_millis()).unwrap_or(u32::MAX);
        let count = |of: &HashMap<TeamId, u32>, team| of.get(team).copied().unwrap_or(0);
        for team in &teams {
            let sample = TeamSample {
                at: now,
                concurrent: count(&counts, team),
                started: count(&started, team),
                span_ms,
            };
            files.append_team(*team, &sample);
        }
    }

    /// The samples of the caller's team between two moments, oldest first.
    pub(crate) async fn team_samples(
        &self,
        caller: &Caller,
        team_id: TeamId,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<TeamSample>, Error> {
        if caller.team.team_id != team_id {
            return Err(Error::Forbidden("that is not your team".to_owned()));
        }
        let Some(files) = &self.options().samples else { return Ok(Vec::new()) };
        let mut samples = files.read_team(team_id).await;
        samples.retain(|sample| (start..=end).contains(&sample.at));
        Ok(samples)
    }

    fn team_state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.teams.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many as an answer shows.
pub(crate) fn shown(samples: Vec<TeamSample>) -> Vec<TeamSample> {
    thin(samples, |sample| sample.at)
}

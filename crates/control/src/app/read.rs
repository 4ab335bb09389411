//! One sandbox: what was asked of it and what its node says.

use model::SandboxId;
use node::{Observation, Phase};

use super::{App, Caller, Error};

/// A sandbox that runs or sleeps, from both sides.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) row: store::Sandbox,
    pub(crate) observation: Observation,
    /// What its daemon demands.
    pub(crate) token: Option<String>,
}

impl App {
    /// A sandbox of the caller's team that runs or sleeps.
    pub(crate) async fn sandbox(&self, caller: &Caller, id: &SandboxId) -> Result<Live, Error> {
        self.live(caller, id).await?.ok_or_else(|| Error::NoSandbox(id.clone()))
    }

    /// The same for calls that change something: one on its way out is a
    /// conflict for them, not unknown.
    pub(super) async fn sandbox_to_move(&self, caller: &Caller, id: &SandboxId) -> Result<Live, Error> {
        self.live(caller, id).await?.ok_or_else(|| Error::SandboxEnding(id.clone()))
    }

    /// The same for calls that only a running one can follow.
    pub(super) async fn sandbox_to_change(&self, caller: &Caller, id: &SandboxId) -> Result<Live, Error> {
        let live = self.sandbox_to_move(caller, id).await?;
        match live.observation.phase {
            Phase::Paused => Err(Error::NoSandbox(id.clone())),
            Phase::Pausing | Phase::Resuming => Err(Error::SandboxMoving(id.clone())),
            _ if live.observation.is_snapshotting => Err(Error::Snapshotting(id.clone())),
            Phase::Starting | Phase::Running | Phase::Ending => Ok(live),
        }
    }

    /// `None` if it is on its way out.
    async fn live(&self, caller: &Caller, id: &SandboxId) -> Result<Option<Live>, Error> {
        let row = self.row_of(caller, id).await?;
        if !matches!(row.intent, store::Intent::Running | store::Intent::Paused) {
            return Ok(None);
        }
        match self.node().get(id) {
            Some(observation) if observation.phase.stands() => {
                Ok(Some(Live { token: self.token_of(&row), row, observation }))
            }
            Some(_) => Ok(None),
            None => Err(self.gone(id)),
        }
    }

    /// The row of a sandbox that may be anywhere on its way.
    pub(super) async fn row_of(&self, caller: &Caller, id: &SandboxId) -> Result<store::Sandbox, Error> {
        let theirs = |team| team == caller.team.team_id;
        if let Some(row) = self.store().sandbox(id).await?.filter(|row| theirs(row.team_id)) {
            return Ok(row);
        }
        match self.store().record(id).await?.filter(|record| theirs(record.team_id)) {
            Some(record) => Err(Error::SandboxEnded {
                sandbox_id: id.clone(),
                cause: record.cause,
                ended_at: record.ended_at,
            }),
            None => Err(Error::NoSandbox(id.clone())),
        }
    }

    /// What became of a sandbox of the caller's team that ended.
    pub(crate) async fn record_of(&self, caller: &Caller, id: &SandboxId) -> Result<store::Record, Error> {
        let none = || Error::NoSuch { what: "record of sandbox", id: id.to_string() };
        let theirs = |record: &store::Record| record.team_id == caller.team.team_id;
        if let Some(record) = self.store().record(id).await?.filter(theirs) {
            return Ok(record);
        }
        let row = self.store().sandbox(id).await?.filter(|row| row.team_id == caller.team.team_id);
        if row.is_none() || self.node().get(id).is_some() || self.is_in_flight(id) {
            return Err(none());
        }
        // It ended by itself, and nobody has written that down yet.
        self.settle(id).await?;
        self.store().record(id).await?.filter(theirs).ok_or_else(none)
    }

    /// It has ended, and the reconciler has not moved its row yet.
    pub(super) fn gone(&self, id: &SandboxId) -> Error {
        self.node().ended(id).map_or_else(
            || Error::NoSandbox(id.clone()),
            |ended| Error::SandboxEnded {
                sandbox_id: id.clone(),
                cause: ended.cause,
                ended_at: ended.ended_at,
            },
        )
    }
}

//! Pausing, waking, forking and keeping sandboxes, and what they used.

use std::time::{Duration, SystemTime};

use http::Method;
use serde::{Deserialize, Serialize};
use wire::rest::{self, SandboxMetric};

use super::{ConnectOptions, Metrics, Sandbox, SnapshotInfo, SnapshotMode, missing, seconds, unix_seconds};
use crate::api::{Api, segment};
use crate::http::{escape, query};
use crate::{Config, Error, ErrorKind};

/// The official client refuses more.
const MAX_FORKS: u32 = 20;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PauseRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    require_healthy_guest: Option<bool>,
}

#[derive(Debug, Serialize)]
struct ForkRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
    count: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Forked {
    Sandbox(rest::Sandbox),
    Error { code: u16, message: String },
}

#[derive(Debug, Serialize)]
struct SnapshotRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<bool>,
}

#[derive(Debug, Serialize)]
struct RollbackRequest<'a> {
    #[serde(rename = "snapshotID")]
    snapshot_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
}

impl Sandbox {
    /// Puts it to sleep with its memory. `false` if it slept already.
    pub async fn pause(&self) -> Result<bool, Error> {
        self.pause_with(SnapshotMode::Full, false).await
    }

    /// Puts it to sleep. A strict pause fails with [`ErrorKind::ServiceBusy`]
    /// where the daemon inside does not answer. `false` if it slept already.
    pub async fn pause_with(&self, mode: SnapshotMode, strict: bool) -> Result<bool, Error> {
        let request = PauseRequest { memory: mode.memory(), require_healthy_guest: strict.then_some(true) };
        match self.act("pause", &request).await {
            Ok(()) => Ok(true),
            Err(e) if e.status() == Some(409) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Wakes it, or makes a running one live at least `timeout` from now. The
    /// handle stays good; the answer is a fresh one.
    pub async fn resume(&self, timeout: impl Into<Option<Duration>> + Send) -> Result<Self, Error> {
        Self::connect(&self.api.config, self.id(), timeout).await
    }

    /// [`Sandbox::resume`] with further options.
    pub async fn resume_with(&self, options: ConnectOptions) -> Result<Self, Error> {
        Self::connect_with(&self.api.config, self.id(), options).await
    }

    /// Makes copies that go on from here by themselves, each with an own id. The
    /// server lets a fork live 15 s unless a time is given. Each fork fails by itself.
    pub async fn fork(
        &self,
        count: u32,
        timeout: impl Into<Option<Duration>> + Send,
    ) -> Result<Vec<Result<Self, Error>>, Error> {
        if !(1..=MAX_FORKS).contains(&count) {
            return Err(Error::invalid(format!("a sandbox is forked into 1 to {MAX_FORKS}, not {count}")));
        }
        let request = ForkRequest { timeout: timeout.into().map(seconds), count };
        let path = format!("/sandboxes/{}/fork", self.id());
        let forks: Vec<Forked> = self.api.post(&path, &request).await.map_err(missing)?;
        let handle = |forked| match forked {
            Forked::Sandbox(told) => Self::handle(self.api.clone(), told),
            Forked::Error { code, message } => Err(Error::from_status(code, &message, None)),
        };
        Ok(forks.into_iter().map(handle).collect())
    }

    /// Keeps its state under an id, to start others from; it goes on itself.
    pub async fn create_snapshot(&self, name: Option<&str>) -> Result<SnapshotInfo, Error> {
        self.create_snapshot_with(name, SnapshotMode::Full).await
    }

    /// [`Sandbox::create_snapshot`], of the files alone if asked for.
    pub async fn create_snapshot_with(
        &self,
        name: Option<&str>,
        mode: SnapshotMode,
    ) -> Result<SnapshotInfo, Error> {
        let request = SnapshotRequest { name, memory: mode.memory() };
        let path = format!("/sandboxes/{}/snapshots", self.id());
        self.api.post(&path, &request).await.map_err(missing)
    }

    /// Takes it back to a snapshot of it, under the same id, to live `timeout` from
    /// there, or as long as it was given last. What it is now is lost; one that
    /// sleeps is taken back too. The handle stays good; the answer is a fresh one.
    /// Of this server alone: E2B's own has no such call. Dropping the future may
    /// leave it rolled back.
    pub async fn rollback(
        &self,
        snapshot_id: &str,
        timeout: impl Into<Option<Duration>> + Send,
    ) -> Result<Self, Error> {
        let request = RollbackRequest { snapshot_id, timeout: timeout.into().map(seconds) };
        let path = format!("/sandboxes/{}/rollback", self.id());
        let told = self.api.post(&path, &request).await?;
        Self::handle(self.api.clone(), told)
    }

    /// Removes a snapshot. `false` if there was none.
    pub async fn delete_snapshot(config: &Config, snapshot_id: &str) -> Result<bool, Error> {
        Api::new(config).delete(&format!("/templates/{}", escape(snapshot_id))).await
    }

    /// What it used between two moments, oldest first; without them since its start.
    pub async fn metrics(
        &self,
        start: Option<SystemTime>,
        end: Option<SystemTime>,
    ) -> Result<Vec<Metrics>, Error> {
        if self.api.config.debug {
            return Ok(Vec::new());
        }
        let second = |at: Option<SystemTime>| at.map(|at| unix_seconds(at).to_string());
        let pairs = [("start", second(start)), ("end", second(end))];
        let path = format!("/sandboxes/{}/metrics{}", segment(self.id())?, query(&pairs));
        let samples: Vec<SandboxMetric> = self.api.get(&path).await.map_err(missing)?;
        Ok(samples.into_iter().map(Metrics::from).collect())
    }

    /// Puts a sandbox to sleep by id. `false` if it slept already.
    pub async fn pause_id(config: &Config, sandbox_id: &str) -> Result<bool, Error> {
        let path = format!("/sandboxes/{}/pause", segment(sandbox_id)?);
        match Api::new(config).send_json(Method::POST, &path, &PauseRequest::default()).await {
            Ok(()) => Ok(true),
            Err(e) if e.status() == Some(409) => Ok(false),
            Err(e) => Err(e.refine(ErrorKind::NotFound, ErrorKind::SandboxNotFound)),
        }
    }
}

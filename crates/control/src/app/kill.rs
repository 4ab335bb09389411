//! Ending a sandbox on request: intent, node, record.

use model::{EndCause, KilledBy, Peaks, SandboxId};
use node::Ended;

use super::{App, Caller, Error};

impl App {
    /// Kills a sandbox of the caller's team; answers once it is gone. Killing
    /// one that is being killed already waits for the same end.
    pub(crate) async fn kill(&self, caller: &Caller, id: &SandboxId) -> Result<(), Error> {
        let row = self.row_of(caller, id).await?;
        if self.node().get(id).is_none() && !self.is_in_flight(id) {
            // It ended by itself; a kill that comes later found nothing.
            self.settle(id).await?;
            return self.row_of(caller, id).await.map(drop);
        }
        let (app, id) = (self.clone(), row.sandbox_id);
        self.detached(async move {
            let _guard = app.in_flight(id.clone());
            // Killing is the way out of a full disk, so it does not wait for room on it.
            if let Err(error) = app.store().intend_end(&id).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(sandbox_id = %id, error, "a kill is not noted, and goes on");
            }
            app.finish(&id, KilledBy::Client).await
        })
        .await
    }

    /// Carries out an end that was intended, however far it has come.
    pub(super) async fn finish(&self, id: &SandboxId, by: KilledBy) -> Result<(), Error> {
        match self.node_kill(id, by).await {
            Ok(ended) => self.record(&ended).await,
            Err(Error::NoSandbox(_)) => self.settle_as(id, EndCause::Killed(by)).await,
            Err(error) => Err(error),
        }
    }

    /// Moves the row of a sandbox that is not on its node to its record.
    pub(super) async fn settle(&self, id: &SandboxId) -> Result<(), Error> {
        self.settle_as(id, EndCause::HostLost).await
    }

    /// The node's own record wins; without one, `cause` is the best we know.
    async fn settle_as(&self, id: &SandboxId, cause: EndCause) -> Result<(), Error> {
        if let Some(ended) = self.node().ended(id) {
            return self.record(&ended).await;
        }
        let now = self.options().clock.now();
        self.record(&Ended {
            sandbox_id: id.clone(),
            cause,
            started_at: None,
            ended_at: now,
            peaks: Peaks::default(),
        })
        .await
    }

    async fn record(&self, ended: &Ended) -> Result<(), Error> {
        self.store()
            .end(&ended.sandbox_id, ended.cause, ended.started_at, ended.ended_at, ended.peaks)
            .await?;
        tracing::info!(sandbox_id = %ended.sandbox_id, cause = %ended.cause, "sandbox ended");
        Ok(())
    }

    /// Asks the node, and joins a kill that is under way there.
    pub(super) async fn node_kill(&self, id: &SandboxId, by: KilledBy) -> Result<Ended, Error> {
        let work = async {
            match self.node().kill(id, by).await {
                Err(node::Error::Ending(_)) => self.until_gone(id).await,
                Err(node::Error::NotFound(_)) => Err(Error::NoSandbox(id.clone())),
                other => other.map_err(Error::Node),
            }
        };
        let limit = self.options().kill_limit;
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(Error::KillTimedOut(id.clone())))
    }

    /// Waits for the level "not in the node's list"; the caller bounds it.
    async fn until_gone(&self, id: &SandboxId) -> Result<Ended, Error> {
        let mut changes = self.node().observe();
        while self.node().get(id).is_some() {
            if changes.changed().await.is_err() {
                return Err(Error::NoSandbox(id.clone()));
            }
        }
        self.node().ended(id).ok_or_else(|| Error::NoSandbox(id.clone()))
    }
}

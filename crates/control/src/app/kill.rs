//! Ending a sandbox on request: intent, node, record.

use model::{EndCause, KilledBy, Peaks, SandboxId};
use node::Ended;

use super::event::killed_event;
use super::{App, Caller, Error};

impl App {
    /// Kills a sandbox of the caller's team; answers once it is gone. Killing
    /// one that is being killed already waits for the same end.
    pub(crate) async fn kill(&self, caller: &Caller, id: &SandboxId) -> Result<(), Error> {
        let row = self.row_of(caller, id).await?;
        if self.node().get(id).is_none() && !self.is_in_flight(id) {
            // It ended by itself; a kill that comes later found nothing.
            if let Err(error) = self.settle(id).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(sandbox_id = %id, error, "an end is not recorded yet");
                return Err(self.gone(id));
            }
            return self.row_of(caller, id).await.map(drop);
        }
        let (app, id) = (self.clone(), row.sandbox_id);
        self.detached(async move {
            let (_guard, began) = (app.in_flight(id.clone()), tokio::time::Instant::now());
            // Killing is the way out of a full disk, so it does not wait for room on it.
            if let Err(error) = app.store().intend_end(&id).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(sandbox_id = %id, error, "a kill is not noted, and goes on");
            }
            // What was not fetched goes with the sandbox; one that does not answer loses it.
            app.fetch_last_words(&id).await;
            let ended = app.end_on_node(&id, KilledBy::Client).await?;
            app.0.meter.note_kill(began.elapsed());
            // It is gone, whether or not that can be written down now; what stays
            // in the store says so, and the reconciler writes it later.
            if let Err(error) = app.record(&ended).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(sandbox_id = %id, error, "an end is not recorded yet");
            }
            Ok(())
        })
        .await
    }

    /// Carries out an end that was intended, however far it has come.
    pub(super) async fn finish(&self, id: &SandboxId, by: KilledBy) -> Result<(), Error> {
        let ended = self.end_on_node(id, by).await?;
        self.record(&ended).await
    }

    /// The part of it on the node.
    async fn end_on_node(&self, id: &SandboxId, by: KilledBy) -> Result<Ended, Error> {
        match self.node_kill(id, by).await {
            Err(Error::NoSandbox(_)) => Ok(self.best_record(id, EndCause::Killed(by))),
            answered => answered,
        }
    }

    /// Moves the row of a sandbox that is not on its node to its record.
    pub(super) async fn settle(&self, id: &SandboxId) -> Result<(), Error> {
        self.record(&self.best_record(id, EndCause::HostLost)).await
    }

    /// The node's own record wins; without one, `cause` is the best we know.
    fn best_record(&self, id: &SandboxId, cause: EndCause) -> Ended {
        self.node().ended(id).unwrap_or_else(|| Ended {
            sandbox_id: id.clone(),
            cause,
            started_at: None,
            ended_at: self.options().clock.now(),
            peaks: Peaks::default(),
            oom_victims: Vec::new(),
        })
    }

    async fn record(&self, ended: &Ended) -> Result<(), Error> {
        let row = self.store().sandbox(&ended.sandbox_id).await?;
        let event = row.map(|row| killed_event(&row, ended));
        let event = event.as_ref();
        let Ended { cause, started_at, ended_at, peaks, ref oom_victims, .. } = *ended;
        let ending = store::Ending { cause, started_at, ended_at, peaks, oom_victims };
        self.store().end(&ended.sandbox_id, ending, event).await?;
        if event.is_some() {
            self.wake_deliveries();
            self.0.meter.note_end(ended.cause);
            self.tell_end(ended);
        }
        self.forget_told(&ended.sandbox_id);
        self.close_log(&ended.sandbox_id);
        tracing::info!(sandbox_id = %ended.sandbox_id, cause = %ended.cause, "sandbox ended");
        Ok(())
    }

    /// Asks the node, and joins a kill that is under way there.
    pub(super) async fn node_kill(&self, id: &SandboxId, by: KilledBy) -> Result<Ended, Error> {
        let work = async {
            match self.node().kill(id, by).await {
                Err(node::Error::Ending(_)) => self.until_gone(id).await,
                Err(node::Error::NotFound(_)) => Err(Error::NoSandbox(id.clone())),
                other => other.map_err(Error::of_node),
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

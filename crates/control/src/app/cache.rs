//! The cache of build steps, as its team sees it.

use std::time::Duration;

use node::build::{CachedStep, Collected, Verified};

use super::{App, Caller, Error};

impl App {
    /// The steps that the caller's builds find.
    pub(crate) async fn cached_steps(&self, caller: &Caller) -> Result<Vec<CachedStep>, Error> {
        self.node().builds().steps(caller.team.team_id).await.map_err(Error::Node)
    }

    /// Forgets a step.
    pub(crate) async fn forget_step(&self, caller: &Caller, key: &str) -> Result<(), Error> {
        match self.node().builds().forget_step(caller.team.team_id, key).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NoStep(key.chars().take(64).collect())),
            Err(error) => Err(Error::Node(error)),
        }
    }

    /// Sets layers aside that nothing leads to or stands on; they go in the background.
    pub(crate) async fn collect_layers(
        &self,
        caller: &Caller,
        unused_for: Duration,
    ) -> Result<Collected, Error> {
        let (app, team) = (self.clone(), caller.team.team_id);
        let collecting =
            async move { app.node().builds().collect(team, unused_for).await.map_err(Error::Node) };
        self.detached(collecting).await
    }

    /// Reads every layer and compares it with what it was; stops when this is dropped, so
    /// that those who gave up waiting for their turn leave no work behind.
    pub(crate) async fn verify_layers(&self) -> Result<Verified, Error> {
        self.node().builds().verify().await.map_err(Error::Node)
    }
}

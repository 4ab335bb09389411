//! Forks: one state of a sandbox, and many sandboxes that begin with it.
//!
//! The source stands still once, for the state; the children start side by side,
//! each with an id and a token of its own, and fail each by itself.

use std::time::Duration;

use futures_util::StreamExt as _;
use model::SandboxId;
use node::{Checkpoint, CreateSandbox, Keep};
use store::Intent;
use tokio::time::Instant;
use wire::control::LogLevel;

use super::event::checkpointed_event;
use super::read::Live;
use super::{App, Caller, Error, random};

/// Children of one call.
const MOST: i64 = 100;

/// Children that start at a time; the host's own limits hold besides.
const AT_A_TIME: usize = 8;

impl App {
    /// Makes sandboxes of a running one, which goes on.
    pub(crate) async fn fork(
        &self,
        caller: &Caller,
        id: &SandboxId,
        seconds: i64,
        count: i64,
    ) -> Result<Vec<Result<Live, Error>>, Error> {
        let max = caller.team.max_sandboxes.unwrap_or(self.options().max_sandboxes);
        let count = checked_count(count, max)?;
        let timeout = self.checked_timeout(seconds)?;
        let live = match self.sandbox_to_change(caller, id).await {
            Err(Error::NoSandbox(_)) if self.sleeps(id) => return Err(Error::PausedFork(id.clone())),
            other => other?,
        };
        // Before the source stands still for children that nobody takes. One that is
        // drained meanwhile keeps those that are begun; the others are refused each.
        self.refuse_if_leaving()?;
        self.refuse_if_drained().await?;
        let keep = self.keep(true, "a fork, which has the memory of its source,")?;
        let app = self.clone();
        self.detached(async move { app.make_forks(live, keep, timeout, count, max).await }).await
    }

    async fn make_forks(
        &self,
        source: Live,
        keep: Keep,
        timeout: Duration,
        count: usize,
        max: u64,
    ) -> Result<Vec<Result<Live, Error>>, Error> {
        let id = &source.row.sandbox_id;
        // Whoever is told has all of them: what is not usable by then is no longer begun.
        let deadline = Instant::now() + self.options().create_limit;
        let state = self.within(id, self.node().checkpoint(id, keep)).await?;
        let state = state.map_err(|error| match error {
            // It fell asleep meanwhile.
            node::Error::Paused(_) => Error::PausedFork(id.clone()),
            other => self.not_kept(id, other),
        })?;
        let now = self.options().clock.now();
        if let Err(error) = self.store().add_event(&checkpointed_event(&source, now)).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(sandbox_id = %id, error, "an event was not written");
        }
        let order = source.env_order(&state, timeout);
        let forks = (0..count).map(|_| self.start_fork(deadline, &source, order.clone(), max));
        let forks: Vec<_> = futures_util::stream::iter(forks).buffered(AT_A_TIME).collect().await;
        let made = forks.iter().filter(|fork| fork.is_ok()).count().to_string();
        let facts = [("forks", made), ("frozen_us", state.frozen.as_micros().to_string())];
        self.tell(id, LogLevel::Info, "Sandbox forked", &facts);
        self.wake_deliveries();
        Ok(forks)
    }

    async fn start_fork(
        &self,
        deadline: Instant,
        source: &Live,
        order: CreateSandbox,
        max: u64,
    ) -> Result<Live, Error> {
        let row = store::Sandbox {
            sandbox_id: SandboxId::from_random(random()),
            intent: Intent::Starting,
            created_at: self.options().clock.now(),
            ..source.row.clone()
        };
        let sandbox_id = row.sandbox_id.clone();
        let order = CreateSandbox { sandbox_id, access_token: self.token_of(&row), ..order };
        let _guard = self.in_flight(row.sandbox_id.clone());
        self.start_by(deadline, row, order, max).await
    }
}

impl Live {
    /// What a child of it is made of, but for its id and its token.
    fn env_order(&self, state: &Checkpoint, timeout: Duration) -> CreateSandbox {
        CreateSandbox {
            sandbox_id: self.row.sandbox_id.clone(),
            template_id: self.row.template_id.clone(),
            build_id: self.row.build_id,
            resources: self.row.resources,
            policy: self.policy(),
            // Those of the source are part of its state.
            env_vars: std::collections::BTreeMap::new(),
            access_token: None,
            timeout,
            wait_for_interpreter: true,
            from: Some(state.generation),
        }
    }
}

fn checked_count(count: i64, max_of_team: u64) -> Result<usize, Error> {
    let refused = |text: String| Err(Error::Refused(text));
    if count < 1 {
        return refused("Count must be at least 1".to_owned());
    }
    if count > MOST {
        return refused(format!("Count cannot be greater than {MOST}"));
    }
    let count = usize::try_from(count).unwrap_or(1);
    if count as u64 >= max_of_team {
        return refused(format!(
            "Count must be lower than the maximum number of concurrent sandboxes ({max_of_team})"
        ));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_two_ends() {
        let said = |count, max| checked_count(count, max).unwrap_err().to_string();
        assert_eq!(said(0, 1000), "Count must be at least 1");
        assert_eq!(said(101, 1000), "Count cannot be greater than 100");
        let text = "Count must be lower than the maximum number of concurrent sandboxes (3)";
        assert_eq!(said(3, 3), text);
        assert_eq!(checked_count(100, 1000).ok(), Some(100));
    }
}

//! Code in a session's one Python context, and what comes of it.

use std::time::{Duration, Instant};

use http::StatusCode;
use model::{SessionId, SessionKind};

use super::life::Held;
use super::{Error, artifact, repr};
use crate::app::{App, Caller};
use crate::inside::{self, Cell};

/// What an execution or installation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executed {
    pub(crate) success: bool,
    pub(crate) output: String,
    pub(crate) error: Option<String>,
    pub(crate) took: Duration,
    /// Files inside.
    pub(crate) artifacts: Vec<String>,
}

impl App {
    /// Runs code, in a sandbox that is made if the session has none.
    pub(crate) async fn session_execute(
        &self,
        caller: &Caller,
        id: &SessionId,
        code: &str,
    ) -> Result<Executed, Error> {
        if code.trim().is_empty() {
            return Err(Error::Refused("code is empty".to_owned()));
        }
        let held = self.session_start(caller, id, SessionKind::default()).await?;
        // The row of a sandbox that is just ending may still look alive; nothing ran there.
        match self.execute_in(&held, code).await {
            Err(Error::Inside(inside::Error::Gone)) => {
                drop(held);
                let held = self.session_start(caller, id, SessionKind::default()).await?;
                self.execute_in(&held, code).await
            }
            other => other,
        }
    }

    async fn execute_in(&self, held: &Held, code: &str) -> Result<Executed, Error> {
        let mark = self.options().clock.now();
        let start = Instant::now();
        let limit = self.options().session.limits.execution;
        let cell = self.bounded(held, limit, held.inside().run_cell(code)).await?;
        let took = start.elapsed();
        let artifacts = artifact::collect(&held.inside(), &cell, mark).await;
        Ok(executed(cell, took, artifacts))
    }

    /// Bounds what a session runs, and names the sandbox's end where that broke it.
    pub(super) async fn bounded<T>(
        &self,
        held: &Held,
        limit: Duration,
        work: impl Future<Output = Result<T, inside::Error>>,
    ) -> Result<T, Error> {
        let too_long = Error::TooLong(self.options().session.limits.execution);
        match tokio::time::timeout(limit, work).await {
            Err(_elapsed) => Err(too_long),
            Ok(Err(inside::Error::Refused { status: StatusCode::REQUEST_TIMEOUT, .. })) => Err(too_long),
            Ok(Err(inside::Error::Gone)) => Err(Error::Inside(inside::Error::Gone)),
            Ok(Err(inside::Error::Closed(wire::control::INTERPRETER_PORT))) => Err(Error::NoInterpreter),
            Ok(Err(error)) => Err(held.end().map_or(Error::Inside(error), Error::Ended)),
            Ok(Ok(value)) => Ok(value),
        }
    }
}

/// Standard error is the error of code that raised nothing: it warned.
fn executed(cell: Cell, took: Duration, artifacts: Vec<String>) -> Executed {
    let success = cell.failure.is_none();
    let error = cell.failure.as_ref().map(repr::failure);
    let warned = || Some(cell.stderr).filter(|text| !text.is_empty());
    Executed { success, output: cell.stdout, error: error.or_else(warned), took, artifacts }
}

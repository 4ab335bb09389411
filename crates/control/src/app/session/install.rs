//! Packages for a session: pip, and a running context that sees what is new.

use std::time::{Duration, Instant};

use model::{SessionId, SessionKind};

use super::{Error, Executed, package};
use crate::app::{App, Caller};

/// The Python that cells run in comes first in the path; others have it by its
/// longer name alone.
const PIP: &str = r#"exec "$(command -v python || command -v python3)" -m pip install "$@""#;

/// Makes the next import look at the disk again. A cell like any other, it waits
/// for the one that runs.
const LOOK_AGAIN: &str = "__import__('importlib').invalidate_caches()";

/// The daemon ends pip at the limit, which hanging up would not.
const DAEMON_FIRST: Duration = Duration::from_secs(2);

impl App {
    /// Installs packages, in a sandbox that is made if the session has none.
    pub(crate) async fn session_install(
        &self,
        caller: &Caller,
        id: &SessionId,
        packages: &[String],
    ) -> Result<Executed, Error> {
        package::check(packages)?;
        let held = self.session_start(caller, id, SessionKind::default()).await?;
        let words: Vec<&str> =
            ["/bin/sh", "-c", PIP, "pip"].into_iter().chain(packages.iter().map(String::as_str)).collect();
        let limit = self.options().session.limits.execution;
        let start = Instant::now();
        let inside = held.inside();
        let work = async {
            // As root, like cells.
            let finished = inside.run_program("root", &words, limit).await?;
            if finished.exit_code == 0 {
                inside.run_cell(LOOK_AGAIN).await?;
            }
            Ok(finished)
        };
        let finished = self.bounded(&held, limit + DAEMON_FIRST, work).await?;
        let success = finished.exit_code == 0;
        let failed = || (!success).then(|| format!("pip ended with exit status {}", finished.exit_code));
        let error = Some(finished.stderr).filter(|text| !text.is_empty()).or_else(failed);
        let took = start.elapsed();
        Ok(Executed { success, output: finished.stdout, error, took, artifacts: Vec::new() })
    }
}

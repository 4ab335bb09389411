//! A sandbox back to an earlier snapshot of it, under the same id.

use model::{SandboxId, TemplateRef};
use node::Phase;
use wire::control::LogLevel;

use super::pause::Beginning;
use super::read::Live;
use super::{App, Caller, Error};

impl App {
    /// Takes a sandbox that runs or sleeps back to a snapshot of it, where it goes
    /// on; what it was until now is lost.
    pub(crate) async fn rollback(
        &self,
        caller: &Caller,
        id: &SandboxId,
        to: &TemplateRef,
        seconds: Option<i64>,
    ) -> Result<Live, Error> {
        let live = self.sandbox_to_move(caller, id).await?;
        if matches!(live.observation.phase, Phase::Pausing | Phase::Resuming) {
            return Err(Error::SandboxMoving(id.clone()));
        }
        let snapshot = self.snapshot_of(caller, to).await?;
        if snapshot.source != *id {
            return Err(Error::Refused(format!("'{to}' is a snapshot of another sandbox")));
        }
        let timeout = match seconds {
            Some(seconds) => self.checked_timeout(seconds)?,
            None => live.observation.timeout,
        };
        let from = Beginning::Snapshot(snapshot.build.build_id);
        // Its daemon comes back with the journal of then.
        self.fetch_last_words(id).await;
        let live = self.live_on(live, timeout, from, caller.team.max_sandboxes).await?;
        self.tell(id, LogLevel::Info, "Sandbox rolled back", &[("to", to.to_string())]);
        self.fetch_last_words(id).await;
        Ok(live)
    }
}

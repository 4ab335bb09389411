//! Whether pauses can keep memory, tried in the background once the server serves.
//!
//! Until it is known, the version of the checkpoint tool decides. What passed is
//! remembered in the state directory, and not tried again while the tool, the
//! kernel and the guest are the same; what failed is tried at every start. A trial
//! that a killed server left is cleared away by the next before it has sandboxes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use model::Slot;
use node::Handle;
use runtime::Backend as _;
use runtime::namespaces::Namespaces;
use runtime::trial::{self, Failed, Passed, Trial};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// In the state directory: what passed.
const REMEMBERED: &str = "checkpoint-trial.json";
/// In the state file system, while a trial goes on.
const DIR: &str = "trial";
/// Where the guest answers. Nothing else listens in a machine of a trial.
const PORT: u16 = 49_982;
/// When a trial that came to nothing is made once more.
const AGAIN: Duration = Duration::from_mins(10);
/// How long the end of the server waits for what a trial has to clear away.
const LEAVE: Duration = Duration::from_secs(5);

/// What a verdict is about: with another of these it may be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    tool: PathBuf,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    kernel: String,
    /// The name of its layer, which follows from its content.
    guest: String,
}

impl Subject {
    fn new(tool: &Path, guest_layer: &Path) -> Result<Self> {
        let file = fs::metadata(tool).with_context(|| format!("look at {}", tool.display()))?;
        Ok(Self {
            tool: tool.to_owned(),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            guest: guest_layer.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        })
    }

    /// A file that cannot be read or understood remembers nothing.
    fn has_passed(&self, state: &Path) -> bool {
        let text = fs::read_to_string(state.join(REMEMBERED)).unwrap_or_default();
        serde_json::from_str::<Self>(&text).is_ok_and(|passed| passed == *self)
    }

    fn remember(&self, state: &Path) -> Result<()> {
        let text = serde_json::to_string(self).context("write a trial's subject")?;
        super::secret::write(&state.join(REMEMBERED), text.as_bytes())
    }
}

/// A trial in `dir`, with the guest that sandboxes have.
pub(crate) fn of(dir: PathBuf, guest_layer: &Path, slots: [Slot; 2]) -> Trial {
    let flag = [wire::control::TRIAL_ARG.to_owned(), PORT.to_string()];
    let command = std::iter::once(wire::control::GUEST_PATH.to_owned()).chain(flag).collect();
    Trial { dir, program: guest_layer.to_owned(), command, port: PORT, slots }
}

/// What the background work needs.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) machines: Arc<Namespaces>,
    pub(super) node: Handle,
    /// The checkpoint tool.
    pub(super) tool: PathBuf,
    pub(super) guest_layer: PathBuf,
    /// The state directory, and the state file system.
    pub(super) state: PathBuf,
    pub(super) bulk: PathBuf,
}

/// Clears away after a trial that was cut off; called before anybody takes a slot.
pub(super) async fn sweep(machines: &Namespaces, bulk: &Path, guest_layer: &Path) {
    let Some(left) = of(bulk.join(DIR), guest_layer, [Slot(0), Slot(1)]).left() else { return };
    match left.sweep(machines).await {
        Ok(()) => tracing::info!("removed what a trial of checkpoints had left"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "what a trial of checkpoints left cannot be removed");
        }
    }
}

impl Tried {
    /// Finds out and lets the backend know; returns then, or when `stop` says so.
    pub(super) async fn find_out(self, stop: CancellationToken) {
        if self.machines.memory_checkpoints().is_err() {
            return;
        }
        let subject = match Subject::new(&self.tool, &self.guest_layer) {
            Ok(subject) => subject,
            Err(error) => return tracing::warn!(error = &*error, "checkpoints cannot be tried"),
        };
        if subject.has_passed(&self.state) {
            return tracing::info!("pauses can keep memory, as an earlier trial showed");
        }
        for is_last in [false, true] {
            let Some(tried) = self.once(&stop).await else { return };
            match tried {
                Ok(passed) => return self.passed(&subject, passed),
                Err(failed) if failed.disproves() || (is_last && failed.act != trial::Act::Start) => {
                    return self.failed(&failed);
                }
                Err(failed) => {
                    tracing::warn!(reason = %failed, advice = failed.advice(), "a trial of checkpoints came to nothing");
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }

    /// `None`: the server ends, or there is no room for two machines more.
    async fn once(&self, stop: &CancellationToken) -> Option<Result<Passed, Failed>> {
        let lent = match self.node.lend_slots(trial::RESOURCES) {
            Ok(lent) => lent,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::info!(error, "no room to try checkpoints; the tool's version decides");
                return None;
            }
        };
        let trial = of(self.bulk.join(DIR), &self.guest_layer, lent.slots());
        let tried = stop.run_until_cancelled(trial.run(&*self.machines)).await;
        if tried.is_none()
            && !matches!(tokio::time::timeout(LEAVE, trial.sweep(&*self.machines)).await, Ok(Ok(())))
        {
            tracing::info!("the next server removes what is left of a trial of checkpoints");
        }
        if trial.dir.exists() {
            lent.keep();
        }
        tried
    }

    fn passed(&self, subject: &Subject, passed: Passed) {
        self.machines.judge_memory(Ok(()));
        let (took, frozen) = (passed.took, passed.frozen);
        tracing::info!(?took, ?frozen, restored_in = ?passed.restored_in, "pauses can keep memory: it was tried");
        if let Err(error) = subject.remember(&self.state) {
            tracing::warn!(error = &*error, "a passed trial of checkpoints is not remembered");
        }
    }

    fn failed(&self, failed: &Failed) {
        tracing::warn!(reason = %failed, advice = failed.advice(), "pauses keep files only");
        self.machines.judge_memory(Err(format!("{}: {failed}", self.tool.display())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_for_the_same_tool_kernel_and_guest() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("criu");
        fs::write(&tool, "one").unwrap();
        let subject = Subject::new(&tool, Path::new("/layers/guest-1")).unwrap();
        assert!(!subject.has_passed(dir.path()));
        subject.remember(dir.path()).unwrap();
        assert!(subject.has_passed(dir.path()));
        assert!(!Subject::new(&tool, Path::new("/layers/guest-2")).unwrap().has_passed(dir.path()));
        let other = Subject { kernel: "7.0".to_owned(), ..subject.clone() };
        assert!(!other.has_passed(dir.path()));
        fs::write(&tool, "another").unwrap();
        assert!(!Subject::new(&tool, Path::new("/layers/guest-1")).unwrap().has_passed(dir.path()));
        fs::write(dir.path().join(REMEMBERED), "{\"tool\":").unwrap();
        assert!(!subject.has_passed(dir.path()));
    }
}

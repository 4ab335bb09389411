//! One bounded, pre-emptible step.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use model::{EndCause, KilledBy, SandboxId};

use crate::error::chain;
use crate::faults::{Faults, InjectedFault, Point};
use crate::guest::CallError;
use crate::shared::Entry;
use crate::{Error, disk};

/// Why a step of a start or of an end did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Backend(#[from] runtime::Error),
    #[error(transparent)]
    Guest(#[from] CallError),
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
    #[error(transparent)]
    Generation(#[from] crate::generation::Unusable),
    #[error(transparent)]
    Injected(#[from] InjectedFault),
    #[error("it took longer than {0:?}")]
    TooLong(Duration),
    #[error("the machine ended before its state was written")]
    NotAsked,
    #[error("{0}")]
    Command(String),
    #[error("its first process ended ({0:?})")]
    Exited(runtime::Exit),
}

impl StepError {
    /// Whether a full disk of the host is the cause. Somebody inside who says that a disk is
    /// full cannot know whose it is: that is looked at, where sandboxes have their files.
    pub(crate) async fn is_full_disk(&self, files: &Path) -> bool {
        if disk::is_full(self) {
            return true;
        }
        if !disk::says_full(&chain(self)) {
            return false;
        }
        let files = files.to_owned();
        disk::blocking(move || disk::has_no_room(&files)).await
    }
}

/// How a start came to nothing.
pub(crate) enum Failed {
    /// A step failed.
    Step(&'static str, StepError),
    /// Somebody wants it gone already, or nobody waits for it any more.
    Killed(EndCause),
    /// Nobody approved of it; nothing but its record was made.
    Withdrawn,
}

impl Failed {
    pub(crate) fn cause(&self) -> EndCause {
        match self {
            Self::Step(..) | Self::Withdrawn => EndCause::StartFailed,
            Self::Killed(cause) => *cause,
        }
    }

    /// What the caller is told; before the undo, which makes room. `files`: where
    /// sandboxes have theirs.
    pub(crate) async fn error(&self, sandbox_id: &SandboxId, files: &Path) -> Error {
        match self {
            Self::Killed(_) => Error::Ending(sandbox_id.clone()),
            Self::Withdrawn => Error::Withdrawn(sandbox_id.clone()),
            Self::Step(what, source) if source.is_full_disk(files).await => {
                Error::DiskFull { sandbox_id: sandbox_id.clone(), what, why: chain(source) }
            }
            Self::Step(step, source) => {
                Error::Start { sandbox_id: sandbox_id.clone(), step, source: chain(source).into() }
            }
        }
    }
}

/// Passes a fault point, then runs `work`, both within `limit`.
pub(crate) async fn bounded<T, E: Into<StepError>>(
    faults: &dyn Faults,
    point: Point,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StepError> {
    let guarded = async {
        faults.at(point).await?;
        work.await.map_err(Into::into)
    };
    tokio::time::timeout(limit, guarded).await.unwrap_or(Err(StepError::TooLong(limit)))
}

/// Waits until somebody wants the sandbox gone.
pub(crate) async fn killed(entry: &Entry) -> EndCause {
    let mut wanted = entry.kill.subscribe();
    match wanted.wait_for(Option::is_some).await.map(|cause| *cause) {
        Ok(Some(cause)) => cause,
        // The sender lives in the entry that we hold.
        Ok(None) | Err(_) => EndCause::Killed(KilledBy::Operator),
    }
}

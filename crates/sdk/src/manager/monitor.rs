//! What a sandbox uses, sampled in the background.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{ErrorKind, Metrics, Sandbox};

/// Samples a sandbox's metrics until it is dropped or the sandbox is gone.
#[derive(Debug)]
pub struct ResourceMonitor {
    latest: watch::Receiver<Option<Metrics>>,
    // Dropping the set ends the task.
    _task: JoinSet<()>,
}

impl ResourceMonitor {
    pub(super) fn start(sandbox: Sandbox, every: Duration) -> Self {
        let (sender, latest) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                match sandbox.metrics(None, None).await {
                    Ok(samples) => {
                        let newest = samples.last().copied();
                        sender.send_if_modified(|seen| {
                            let fresh = newest.is_some() && *seen != newest;
                            if fresh {
                                *seen = newest;
                            }
                            fresh
                        });
                    }
                    Err(e) if e.kind() == ErrorKind::SandboxNotFound => return,
                    Err(e) => tracing::debug!(sandbox_id = sandbox.id(), error = %e, "no sample"),
                }
                tokio::time::sleep(every).await;
            }
        });
        Self { latest, _task: task }
    }

    /// The newest sample, if there is one yet.
    pub fn latest(&self) -> Option<Metrics> {
        *self.latest.borrow()
    }

    /// Waits for a sample that was not seen by this call before; `None` when the
    /// sandbox is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Metrics> {
        self.latest.changed().await.ok()?;
        *self.latest.borrow_and_update()
    }
}

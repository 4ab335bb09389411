//! The node's tasks: each has a name, none outlives the node, and a panic in one
//! is said and handed back to its owner.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Owner of every task.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    /// Cancelled: whoever can stop without losing anything does.
    leave: CancellationToken,
    /// Cancelled: every task is dropped where it stands, as if the server were killed.
    abandon: CancellationToken,
}

impl Tasks {
    /// Runs a task until it ends or everything is abandoned. If it panics,
    /// `on_panic` makes the future that cleans up after it.
    pub(crate) fn spawn<F, R>(
        &self,
        span: tracing::Span,
        task: F,
        on_panic: impl FnOnce() -> R + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        // By its place: passed on by value, each of these wrappers would hold it twice.
        let task = Box::pin(task);
        let guarded = async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!("a driver panicked; its sandbox is removed");
                Box::pin(on_panic()).await;
            }
        };
        let abandoned = self.abandon.clone();
        let task = async move {
            abandoned.run_until_cancelled(guarded).await;
        };
        self.tracker.spawn(task.instrument(span));
    }

    pub(crate) fn leave(&self) -> &CancellationToken {
        &self.leave
    }

    pub(crate) fn abandon(&self) {
        self.abandon.cancel();
    }

    /// Waits until no task is left; no more may be spawned.
    pub(crate) async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

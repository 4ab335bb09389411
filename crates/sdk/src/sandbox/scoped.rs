//! A sandbox that ends with its scope.

use std::ops::Deref;

use tokio::runtime::Handle;

use super::Sandbox;
use crate::Error;

/// A sandbox that is killed at [`ScopedSandbox::close`], or when it is dropped.
///
/// Dropping never blocks. Inside a tokio runtime it leaves the kill to a task of
/// that runtime; outside of one, or when that kill fails, a warning says which
/// sandbox was left behind until its timeout.
#[derive(Debug)]
pub struct ScopedSandbox {
    sandbox: Option<Sandbox>,
    id: String,
}

impl Sandbox {
    /// Binds its life to a scope.
    pub fn scoped(self) -> ScopedSandbox {
        ScopedSandbox { id: self.id().to_owned(), sandbox: Some(self) }
    }
}

impl ScopedSandbox {
    /// Kills it and waits for that. `false` if it was gone already. Dropping the
    /// future counts as dropping the sandbox.
    pub async fn close(mut self) -> Result<bool, Error> {
        let gone = self.kill().await?;
        self.sandbox = None;
        Ok(gone)
    }

    /// Lets it live on: its id is all that is left of the scope.
    pub fn leave(mut self) -> String {
        self.sandbox = None;
        std::mem::take(&mut self.id)
    }
}

impl Deref for ScopedSandbox {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        self.sandbox.as_ref().expect("only close and leave, which consume it, take the sandbox")
    }
}

impl Drop for ScopedSandbox {
    fn drop(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            kill_later(sandbox);
        }
    }
}

/// Kills in the background, without waiting.
pub(crate) fn kill_later(sandbox: Sandbox) {
    match Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(async move {
                if let Err(e) = sandbox.kill().await {
                    tracing::warn!(sandbox_id = sandbox.id(), error = %e, "a sandbox was left behind until its timeout");
                }
            });
        }
        Err(_) => {
            tracing::warn!(
                sandbox_id = sandbox.id(),
                "a sandbox was dropped outside of a runtime and left behind until its timeout"
            );
        }
    }
}

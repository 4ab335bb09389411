//! The node in this process, as the control plane asks for it.
//!
//! The debug sandbox is left out: it is nobody's, and the control plane ends
//! what it does not own.

use std::time::Duration;

use control::{BoxFuture, BuildPort, NodePort, Usage};
use model::{BuildId, KilledBy, SandboxId, TemplateId, Timestamp};
use node::{
    Approval, Checkpoint, Connection, CreateSandbox, DialError, DiffPage, DiffRequest, Ended, Error, Handle,
    Host, Keep, Observation, Room, TemplateBuild, Waking,
};
use tokio::sync::watch;

use super::DEBUG_ID;

/// This process's node without its debug sandbox.
#[derive(Debug)]
pub(crate) struct LocalNode(Handle);

impl LocalNode {
    pub(crate) fn new(node: Handle) -> Self {
        Self(node)
    }
}

fn is_debug(sandbox: &SandboxId) -> bool {
    sandbox.as_str() == DEBUG_ID
}

fn refuse_debug(sandbox: &SandboxId) -> Result<(), Error> {
    if is_debug(sandbox) { Err(Error::NotFound(sandbox.clone())) } else { Ok(()) }
}

impl NodePort for LocalNode {
    fn create(
        &self,
        sandbox: CreateSandbox,
        approval: Approval,
    ) -> BoxFuture<'_, Result<Observation, Error>> {
        NodePort::create(&self.0, sandbox, approval)
    }

    fn kill<'a>(&'a self, sandbox: &'a SandboxId, by: KilledBy) -> BoxFuture<'a, Result<Ended, Error>> {
        Box::pin(async move {
            refuse_debug(sandbox)?;
            self.0.kill(sandbox, by).await
        })
    }

    fn set_deadline<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        deadline: Timestamp,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            refuse_debug(sandbox)?;
            self.0.set_deadline(sandbox, deadline).await
        })
    }

    fn memory_checkpoints(&self) -> Result<(), String> {
        self.0.memory_checkpoints()
    }

    fn pause<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        keep: Keep,
        demands_answer: bool,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            refuse_debug(sandbox)?;
            self.0.pause(sandbox, keep, demands_answer).await
        })
    }

    fn resume<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        timeout: Duration,
        waking: Waking,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            refuse_debug(sandbox)?;
            self.0.resume(sandbox, timeout, waking).await
        })
    }

    fn checkpoint<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        keep: Keep,
    ) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(async move {
            refuse_debug(sandbox)?;
            self.0.checkpoint(sandbox, keep).await
        })
    }

    fn keep_checkpoint<'a>(
        &'a self,
        state: &'a Checkpoint,
        template: &'a TemplateId,
        build: BuildId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.0.keep_checkpoint(state, template, build))
    }

    fn rollback<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        build: BuildId,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(async move {
            refuse_debug(sandbox)?;
            self.0.rollback(sandbox, build, timeout).await
        })
    }

    fn diff(&self, from: BuildId, to: BuildId, page: DiffRequest) -> BoxFuture<'_, Result<DiffPage, Error>> {
        Box::pin(self.0.diff(from, to, page))
    }

    fn get(&self, sandbox: &SandboxId) -> Option<Observation> {
        self.0.get(sandbox).filter(|_| !is_debug(sandbox))
    }

    fn list(&self) -> Vec<Observation> {
        let mut all = self.0.list();
        all.retain(|seen| !is_debug(&seen.sandbox_id));
        all
    }

    fn observe(&self) -> watch::Receiver<u64> {
        self.0.observe()
    }

    fn ended(&self, sandbox: &SandboxId) -> Option<Ended> {
        self.0.ended(sandbox).filter(|_| !is_debug(sandbox))
    }

    fn usage<'a>(&'a self, sandbox: &'a SandboxId) -> BoxFuture<'a, Result<Usage, Error>> {
        Box::pin(async move {
            refuse_debug(sandbox)?;
            self.0.usage(sandbox).await
        })
    }

    fn dial<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn Connection>, DialError>> {
        Box::pin(async move {
            if is_debug(sandbox) {
                return Err(DialError::Gone);
            }
            NodePort::dial(&self.0, sandbox, port).await
        })
    }

    fn logs<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        from: u64,
        limit: Duration,
    ) -> BoxFuture<'a, Result<wire::control::LogPage, Error>> {
        Box::pin(async move {
            refuse_debug(sandbox)?;
            self.0.logs(sandbox, from, limit).await
        })
    }

    fn templates(&self) -> Vec<TemplateBuild> {
        self.0.templates()
    }

    fn room(&self) -> BoxFuture<'_, std::io::Result<Room>> {
        NodePort::room(&self.0)
    }

    fn host(&self) -> BoxFuture<'_, std::io::Result<Host>> {
        NodePort::host(&self.0)
    }

    fn builds(&self) -> &dyn BuildPort {
        &self.0
    }
}

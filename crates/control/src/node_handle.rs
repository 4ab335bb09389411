//! A node in this process as the control plane sees it.

use std::time::Duration;

use model::{BuildId, KilledBy, SandboxId, TeamId, TemplateId, Timestamp};
use node::build::{
    BuildOrder, BuildProgress, CachedStep, Collected, FilesHash, LogEntry, LogPage, UploadError, Verified,
};
use node::{
    Approval, Checkpoint, Connection, CreateSandbox, DialError, DiffPage, DiffRequest, Ended, Error, Handle,
    Host, Keep, Observation, Room, TemplateBuild, Waking,
};
use tokio::sync::watch;

use crate::{BoxFuture, BuildPort, NodePort, Upload, Usage};

impl NodePort for Handle {
    fn create(
        &self,
        sandbox: CreateSandbox,
        approval: Approval,
    ) -> BoxFuture<'_, Result<Observation, Error>> {
        Box::pin(self.create_approved(sandbox, approval))
    }

    fn kill<'a>(&'a self, sandbox: &'a SandboxId, by: KilledBy) -> BoxFuture<'a, Result<Ended, Error>> {
        Box::pin(Self::kill(self, sandbox, by))
    }

    fn set_deadline<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        deadline: Timestamp,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(Self::set_deadline(self, sandbox, deadline))
    }

    fn memory_checkpoints(&self) -> Result<(), String> {
        Self::memory_checkpoints(self)
    }

    fn pause<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        keep: Keep,
        demands_answer: bool,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(Self::pause(self, sandbox, keep, demands_answer))
    }

    fn resume<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        timeout: Duration,
        waking: Waking,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(Self::resume(self, sandbox, timeout, waking))
    }

    fn checkpoint<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        keep: Keep,
    ) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(Self::checkpoint(self, sandbox, keep))
    }

    fn keep_checkpoint<'a>(
        &'a self,
        state: &'a Checkpoint,
        template: &'a TemplateId,
        build: BuildId,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(Self::keep_checkpoint(self, state, template, build))
    }

    fn rollback<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        build: BuildId,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Observation, Error>> {
        Box::pin(Self::rollback(self, sandbox, build, timeout))
    }

    fn diff(&self, from: BuildId, to: BuildId, page: DiffRequest) -> BoxFuture<'_, Result<DiffPage, Error>> {
        Box::pin(Self::diff(self, from, to, page))
    }

    fn get(&self, sandbox: &SandboxId) -> Option<Observation> {
        Self::get(self, sandbox)
    }

    fn list(&self) -> Vec<Observation> {
        Self::list(self)
    }

    fn observe(&self) -> watch::Receiver<u64> {
        Self::observe(self)
    }

    fn ended(&self, sandbox: &SandboxId) -> Option<Ended> {
        Self::ended(self, sandbox)
    }

    fn usage<'a>(&'a self, sandbox: &'a SandboxId) -> BoxFuture<'a, Result<Usage, Error>> {
        Box::pin(async move {
            let usage = self.metrics(sandbox).await?;
            Ok(Usage {
                cpu_micros: usage.cpu_micros,
                memory: usage.memory,
                memory_cache: usage.memory_cache,
                disk: usage.disk,
            })
        })
    }

    fn dial<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn Connection>, DialError>> {
        Box::pin(async move {
            let reach = self.dialer(sandbox).ok_or(DialError::Gone)?;
            reach.dial.dial(port).await
        })
    }

    fn logs<'a>(
        &'a self,
        sandbox: &'a SandboxId,
        from: u64,
        limit: Duration,
    ) -> BoxFuture<'a, Result<wire::control::LogPage, Error>> {
        Box::pin(Self::logs(self, sandbox, from, limit))
    }

    fn templates(&self) -> Vec<TemplateBuild> {
        Self::templates(self)
    }

    fn room(&self) -> BoxFuture<'_, std::io::Result<Room>> {
        Box::pin(Self::room(self))
    }

    fn host(&self) -> BoxFuture<'_, std::io::Result<Host>> {
        Box::pin(Self::host(self))
    }

    fn builds(&self) -> &dyn BuildPort {
        self
    }
}

impl BuildPort for Handle {
    fn start(&self, order: BuildOrder) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.start_build(order))
    }

    fn progress(&self, build: BuildId) -> BoxFuture<'_, Option<BuildProgress>> {
        Box::pin(self.build_progress(build))
    }

    fn log(&self, build: BuildId, page: LogPage) -> BoxFuture<'_, Result<Vec<LogEntry>, Error>> {
        Box::pin(self.build_log(build, page))
    }

    fn forget(&self, build: BuildId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.forget_build(build))
    }

    fn cancel(&self, build: BuildId) -> bool {
        self.cancel_build(build)
    }

    fn steps(&self, team: TeamId) -> BoxFuture<'_, Result<Vec<CachedStep>, Error>> {
        Box::pin(self.cached_steps(team))
    }

    fn forget_step<'a>(&'a self, team: TeamId, key: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(Self::forget_step(self, team, key))
    }

    fn collect(&self, team: TeamId, unused_for: Duration) -> BoxFuture<'_, Result<Collected, Error>> {
        Box::pin(self.collect_layers(team, unused_for))
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, Error>> {
        Box::pin(self.verify_layers())
    }

    fn has_files<'a>(&'a self, team: TeamId, hash: &'a FilesHash) -> BoxFuture<'a, bool> {
        Box::pin(Self::has_files(self, team, hash))
    }

    fn receive_files<'a>(
        &'a self,
        team: TeamId,
        hash: &'a FilesHash,
        expected: Option<u64>,
        content: Upload,
    ) -> BoxFuture<'a, Result<(), UploadError>> {
        Box::pin(Self::receive_files(self, team, hash, expected, content))
    }
}

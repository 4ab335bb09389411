//! The sandbox of one step: like any other, but in nobody's view.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::{BuildId, ByteSize, Resources, SandboxId, TemplateId};
use runtime::Dial;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::step::{LIMIT, StepFailure};
use crate::handle::Handle;
use crate::shared::Request;
use crate::template::{FORMAT, Template};
use crate::{CreateSandbox, Error};

/// What compilers and package managers need, whatever the template's own limits.
const MEMORY: ByteSize = ByteSize::gib(2);

/// How long a step waits for room on a full host.
const ROOM: Duration = Duration::from_mins(2);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);

/// What the sandbox of a step is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) template_id: &'a TemplateId,
    /// Topmost first.
    pub(super) layers: &'a [String],
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) resources: Resources,
}

/// The sandbox of one step. Dropping it asks for its removal.
pub(super) struct Workshop<'a> {
    handle: &'a Handle,
    id: SandboxId,
}

impl<'a> Workshop<'a> {
    /// Waits for room if the host is full: the sandbox before this one, or one that
    /// a killed server left, may still be on its way out.
    pub(super) async fn open(handle: &'a Handle, bench: Bench<'_>) -> Result<Self, StepFailure> {
        let start = Instant::now();
        loop {
            match Self::try_open(handle, bench).await {
                Err(StepFailure::Sandbox(Error::Exhausted { .. })) if start.elapsed() < ROOM => {
                    tokio::time::sleep(AGAIN).await;
                }
                result => return result,
            }
        }
    }

    async fn try_open(handle: &'a Handle, bench: Bench<'_>) -> Result<Self, StepFailure> {
        let mut random = [0; 20];
        random[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let id = SandboxId::from_random(random);
        let resources = Resources { memory: bench.resources.memory.max(MEMORY), ..bench.resources };
        let template = Template {
            format: FORMAT,
            build_id: BuildId::from_u128(0).to_string(),
            owner: bench.template_id.to_string(),
            aliases: Vec::new(),
            client: false,
            cpu_count: resources.cpu_count,
            memory_bytes: resources.memory.as_u64(),
            disk_bytes: resources.disk.as_u64(),
            envd_version: String::new(),
            layers: bench.layers.to_vec(),
            merged: Vec::new(),
            interpreter: false,
            env: bench.env.clone(),
            default_user: Some("root".to_owned()),
            default_workdir: Some("/".to_owned()),
            start: super::Start::default(),
            created_at: 0,
            generation: None,
        };
        let request = CreateSandbox {
            sandbox_id: id.clone(),
            template_id: bench.template_id.clone(),
            build_id: BuildId::from_u128(0),
            resources,
            env_vars: BTreeMap::new(),
            access_token: None,
            timeout: LIMIT,
            wait_for_interpreter: false,
            policy: model::Policy::default(),
            from: None,
        };
        let (reply, asked) = oneshot::channel();
        handle.admit(&request, &template, crate::nouns::Purpose::Build, reply)?;
        let sandbox = Self { handle, id };
        asked.await.unwrap_or(Err(Error::ShuttingDown))?;
        Ok(sandbox)
    }

    pub(super) fn dial(&self) -> Result<Arc<dyn Dial>, StepFailure> {
        let entry = self.handle.shared.entry(&self.id);
        let reach = entry.as_ref().and_then(|entry| entry.reach());
        Ok(reach.map(|reach| reach.dial.clone()).ok_or_else(|| Error::NotFound(self.id.clone()))?)
    }

    /// Ends the sandbox, makes what it wrote a layer, and waits for its removal.
    pub(super) async fn seal(self, to: &Path) -> Result<(), StepFailure> {
        let entry = self.handle.shared.entry(&self.id).ok_or_else(|| Error::NotFound(self.id.clone()))?;
        self.handle.ask(&self.id, |reply| Request::Seal(to.to_owned(), reply)).await?;
        entry.wait_gone().await;
        Ok(())
    }
}

impl Drop for Workshop<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.handle.shared.entry(&self.id) {
            entry.ring_kill(model::EndCause::Killed(model::KilledBy::Operator));
        }
    }
}

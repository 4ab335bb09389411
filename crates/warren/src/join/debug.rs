//! The debug sandbox: what clients with nothing but `E2B_DEBUG=true` talk to.
//!
//! Made on first use, of the template `code-interpreter-v1`, without a token,
//! and made again when it is gone. It belongs to no team: the control plane
//! does not see it, and only this machine's debug ports lead to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::SandboxId;
use node::{CreateSandbox, Handle, Phase};
use proxy::{BoxFuture, Lookup, Resolve};
use tokio::sync::Mutex;

use super::routes::lookup;

/// The debug sandbox's id. Ids that are given out begin with `i` and have 21
/// characters, so no other sandbox ever has it.
pub(crate) const DEBUG_ID: &str = "debug";

const TEMPLATE: &str = "code-interpreter-v1";

/// Then it is made anew; nobody debugs a day without a pause.
const LIFE: Duration = Duration::from_hours(24);

/// Makes the debug sandbox when it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct DebugSandbox {
    node: Handle,
    /// Held while one is being made: the other requests wait for that one.
    making: Arc<Mutex<()>>,
}

impl DebugSandbox {
    pub(crate) fn new(node: Handle) -> Self {
        Self { node, making: Arc::default() }
    }

    async fn ensure(self, sandbox_id: SandboxId) -> Lookup {
        let _making = self.making.lock().await;
        if self.is_running(&sandbox_id) {
            return lookup(&self.node, &sandbox_id);
        }
        let Some(wanted) = self.wanted(sandbox_id.clone()) else {
            return Lookup::NotFound(Some(format!(
                "the debug sandbox needs the template {TEMPLATE}, which is not built"
            )));
        };
        tracing::info!(%sandbox_id, "making the debug sandbox");
        match self.node.create(wanted).await {
            Ok(_) => lookup(&self.node, &sandbox_id),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the debug sandbox could not be made"
                );
                Lookup::NotFound(Some(format!("the debug sandbox could not be made: {error}")))
            }
        }
    }

    fn is_running(&self, sandbox_id: &SandboxId) -> bool {
        self.node.get(sandbox_id).is_some_and(|seen| seen.phase == Phase::Running)
    }

    fn wanted(&self, sandbox_id: SandboxId) -> Option<CreateSandbox> {
        let builds = self.node.templates();
        let build = builds.into_iter().find(|build| build.aliases.iter().any(|alias| alias == TEMPLATE))?;
        Some(CreateSandbox {
            sandbox_id,
            template_id: build.template_id,
            build_id: build.build_id,
            resources: build.resources,
            env_vars: BTreeMap::new(),
            access_token: None,
            timeout: LIFE,
            wait_for_interpreter: true,
            policy: model::Policy::default(),
            from: None,
        })
    }
}

impl Resolve for DebugSandbox {
    fn resolve<'a>(&'a self, sandbox_id: &'a SandboxId) -> BoxFuture<'a, Lookup> {
        if self.is_running(sandbox_id) {
            return Box::pin(std::future::ready(lookup(&self.node, sandbox_id)));
        }
        // In a task of its own: a client that gives up must not leave half a start.
        let making = tokio::spawn(self.clone().ensure(sandbox_id.clone()));
        Box::pin(async { making.await.unwrap_or(Lookup::NotFound(None)) })
    }

    /// It has no token, and its ports lead nowhere else.
    fn signer(&self, _: &wire::files::SignedUrl) -> Option<SandboxId> {
        None
    }
}

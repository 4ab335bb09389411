//! One step of a build: what it is, and how its layer is made.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::{BuildId, ByteSize, Resources, SandboxId};
use runtime::Dial;
use serde::Serialize;
use tokio::sync::oneshot;
use wire::process::EndEvent;

use super::recipe::{Bootstrap, Command, Copy};
use super::tail::Tail;
use super::{Run, bootstrap, call, copy};
use crate::shared::Request;
use crate::template::{FORMAT, Template};
use crate::{CreateSandbox, Error, disk};

/// No step takes longer.
const LIMIT: Duration = Duration::from_hours(2);
/// What compilers and package managers need, whatever the template's own limits.
const MEMORY: ByteSize = ByteSize::gib(2);

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// A distribution in an empty directory.
    Bootstrap(Bootstrap),
    /// Files of the recipe.
    Copy(Copy),
    /// A script.
    Run(Command),
}

/// Why a step came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum StepFailure {
    /// It ended badly.
    #[error("it ended with {how}; its last lines were:\n{}", lines.join("\n"))]
    Ended {
        /// Its exit status in words.
        how: String,
        /// The last lines it printed.
        lines: Vec<String>,
    },
    /// No sandbox for it, or the sandbox was lost.
    #[error(transparent)]
    Sandbox(#[from] Error),
    /// The sandbox's daemon did not play along.
    #[error("{what}: {text}")]
    Guest {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        text: String,
    },
    /// The host has no bootstrap tool.
    #[error("neither mmdebstrap nor debootstrap is installed; install mmdebstrap")]
    NoTool,
    /// The bootstrap tool could not be run.
    #[error("running the bootstrap tool")]
    Tool(#[source] std::io::Error),
    /// It took too long.
    #[error("it took longer than {LIMIT:?}")]
    TooLong,
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Step {
    /// The step in words.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Bootstrap(bootstrap) => {
                format!("Install Debian {} with {} packages", bootstrap.suite, bootstrap.packages.len())
            }
            Self::Copy(Copy { title: Some(title), .. }) | Self::Run(Command { title: Some(title), .. }) => {
                title.clone()
            }
            Self::Copy(copy) => format!("Copy {}", copy.src.display()),
            Self::Run(command) => {
                command.cmd.trim().lines().next().unwrap_or_default().chars().take(60).collect()
            }
        }
    }
}

impl Run<'_> {
    /// Makes the layer of a step.
    pub(super) async fn make(
        &self,
        index: usize,
        step: &Step,
        layers: &[String],
        to: &Path,
    ) -> Result<(), StepFailure> {
        let tail = self.tail(index, step);
        let making = async {
            match step {
                Step::Bootstrap(bootstrap) => bootstrap::make(bootstrap, to, tail).await,
                Step::Copy(_) | Step::Run(_) => self.make_inside(step, layers, to, tail).await,
            }
        };
        tokio::time::timeout(LIMIT, making).await.unwrap_or(Err(StepFailure::TooLong))
    }

    /// Runs a step in a sandbox of the layers so far, and keeps what it wrote.
    async fn make_inside(
        &self,
        step: &Step,
        layers: &[String],
        to: &Path,
        mut tail: Tail,
    ) -> Result<(), StepFailure> {
        let sandbox = Workshop::open(self, layers).await?;
        let dial = sandbox.dial()?;
        let end = match step {
            Step::Copy(files) => copy::copy(&*dial, files, &self.recipe.dir, &mut tail).await?,
            Step::Run(command) => call::run(&*dial, &command.user, &command.cmd, &mut tail).await?,
            Step::Bootstrap(_) => unreachable!("a bootstrap runs on the host"),
        };
        if !is_success(&end) {
            return Err(StepFailure::Ended { how: end.status, lines: tail.finish() });
        }
        sandbox.seal(to).await
    }
}

fn is_success(end: &EndEvent) -> bool {
    end.exited && end.exit_code == 0
}

/// The sandbox of one step. Dropping it asks for its removal.
struct Workshop<'a> {
    run: &'a Run<'a>,
    id: SandboxId,
}

impl<'a> Workshop<'a> {
    async fn open(run: &'a Run<'a>, layers: &[String]) -> Result<Self, StepFailure> {
        let mut random = [0; 20];
        random[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let id = SandboxId::from_random(random);
        let resources = run.recipe.resources;
        let resources = Resources { memory: resources.memory.max(MEMORY), ..resources };
        let template = Template {
            format: FORMAT,
            build_id: BuildId::from_u128(0).to_string(),
            owner: run.recipe.template_id.clone(),
            aliases: Vec::new(),
            cpu_count: resources.cpu_count,
            memory_bytes: resources.memory.as_u64(),
            disk_bytes: resources.disk.as_u64(),
            envd_version: String::new(),
            layers: layers.to_vec(),
            interpreter: false,
            env: run.recipe.env.clone(),
            default_user: Some("root".to_owned()),
            default_workdir: Some("/".to_owned()),
            created_at: 0,
        };
        let request = CreateSandbox {
            sandbox_id: id.clone(),
            template_id: run.recipe.template_id.parse().map_err(|e: model::InvalidId| {
                StepFailure::Guest { what: "naming the template", text: e.to_string() }
            })?,
            build_id: BuildId::from_u128(0),
            resources,
            env_vars: BTreeMap::new(),
            access_token: None,
            timeout: LIMIT,
            wait_for_interpreter: false,
        };
        let (reply, asked) = oneshot::channel();
        run.handle.admit(&request, &template, crate::handle::Purpose::Build, reply)?;
        let sandbox = Self { run, id };
        asked.await.unwrap_or(Err(Error::ShuttingDown))?;
        Ok(sandbox)
    }

    fn dial(&self) -> Result<std::sync::Arc<dyn Dial>, StepFailure> {
        let entry = self.run.handle.shared.entry(&self.id);
        let reach = entry.as_ref().and_then(|entry| entry.reach.get());
        Ok(reach.map(|reach| reach.dial.clone()).ok_or_else(|| Error::NotFound(self.id.clone()))?)
    }

    /// Ends the sandbox, makes what it wrote a layer, and waits for its removal.
    async fn seal(self, to: &Path) -> Result<(), StepFailure> {
        let handle = self.run.handle;
        let entry = handle.shared.entry(&self.id).ok_or_else(|| Error::NotFound(self.id.clone()))?;
        handle.ask(&self.id, |reply| Request::Seal(to.to_owned(), reply)).await?;
        entry.wait_gone().await;
        Ok(())
    }
}

impl Drop for Workshop<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.run.handle.shared.entry(&self.id) {
            entry.ring_kill(model::EndCause::Killed(model::KilledBy::Operator));
        }
    }
}

//! One step of a build: what it is, and how its layer is made.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use wire::process::EndEvent;

use super::call::Process;
use super::recipe::{Bootstrap, Command, Copy};
use super::tail::Tail;
use super::workshop::{Bench, Workshop};
use super::{Run, bootstrap, call, copy};
use crate::{Error, disk};

/// No step takes longer.
pub(super) const LIMIT: Duration = Duration::from_hours(2);

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
    /// The sandbox's daemon refused, in its own words.
    #[error("{0}")]
    Refused(wire::connect::Error),
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
        let template_id = self.recipe.template_id.parse().map_err(|e: model::InvalidId| {
            StepFailure::Guest { what: "naming the template", text: e.to_string() }
        })?;
        let bench = Bench {
            template_id: &template_id,
            layers,
            env: &self.recipe.env,
            resources: self.recipe.resources,
        };
        let sandbox = Workshop::open(self.handle, bench).await?;
        let dial = sandbox.dial()?;
        let end = match step {
            Step::Copy(files) => copy::copy(&*dial, files, &self.recipe.dir, &mut tail).await?,
            Step::Run(command) => {
                let script = Process::script(&command.user, &command.cmd);
                call::run(&*dial, &script, |_, output| tail.push(output)).await?
            }
            Step::Bootstrap(_) => unreachable!("a bootstrap runs on the host"),
        };
        if !is_success(&end) {
            return Err(StepFailure::Ended { how: end.status, lines: tail.finish() });
        }
        sandbox.seal(to).await
    }
}

pub(super) fn is_success(end: &EndEvent) -> bool {
    end.exited && end.exit_code == 0
}

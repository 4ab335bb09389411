//! Making a sandbox: template → ready build → place in the limits → row → node.
//!
//! The walk goes on when the client has gone: half a sandbox is never left, and
//! a whole one ends at its timeout.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{AtTimeout, KilledBy, Policy, SandboxId, TemplateRef};
use node::{Approver, CreateSandbox, Observation};
use store::{Build, Intent, Reservation, Resolved};
use wire::control::LogLevel;

use super::event::created_event;
use super::once::{Claimed, Once};
use super::read::Live;
use super::{App, Caller, Error, random, token};
use crate::FullPause;
use crate::trace::traced;

/// A create, parsed and with nothing in it that we do not enforce.
#[derive(Debug, Clone)]
pub(crate) struct CreateCommand {
    pub(crate) template: TemplateRef,
    /// In seconds, as given or by default.
    pub(crate) timeout: i64,
    pub(crate) auto_pause: bool,
    pub(crate) auto_pause_memory: Option<bool>,
    pub(crate) auto_resume: bool,
    pub(crate) secured: bool,
    pub(crate) allow_internet: Option<bool>,
    /// JSON, for the echo.
    pub(crate) network: Option<String>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    pub(crate) env_vars: BTreeMap<String, String>,
    /// Present if it must happen at most once.
    pub(crate) once: Option<Once>,
    /// Wire names of fields whose demands this version cannot meet, in the
    /// order of checking.
    pub(crate) unmet: Vec<String>,
}

impl CreateCommand {
    fn policy(&self, has_memory: bool) -> Policy {
        let at_timeout = match (self.auto_pause, self.auto_pause_memory) {
            (false, _) => AtTimeout::Kill,
            (true, Some(true) | None) if has_memory => AtTimeout::PauseMemory,
            (true, _) => AtTimeout::PauseFiles,
        };
        Policy { at_timeout, wakes_by_traffic: self.auto_resume }
    }
}

impl App {
    /// Makes a sandbox and answers once it is usable.
    pub(crate) async fn create(&self, caller: &Caller, command: CreateCommand) -> Result<Live, Error> {
        self.create_as(caller, SandboxId::from_random(random()), command).await
    }

    /// The same with an id that the caller has written down before.
    pub(super) async fn create_as(
        &self,
        caller: &Caller,
        sandbox_id: SandboxId,
        command: CreateCommand,
    ) -> Result<Live, Error> {
        let (resolved, build) = self.ready_build(caller, &command.template).await?;
        let timeout = self.checked_timeout(command.timeout)?;
        let memory = self.node().memory_checkpoints();
        let has_memory = memory.is_ok();
        check_lifecycle(&command, memory, self.options().full_pause)?;
        if command.secured {
            check_secure(&build.envd_version)?;
        }
        if let Some(field) = command.unmet.first() {
            return Err(Error::NotBuilt(format!("{field} is")));
        }
        let row = self.row(caller, sandbox_id, &command, &resolved, &build);
        let order = CreateSandbox {
            sandbox_id: row.sandbox_id.clone(),
            template_id: row.template_id.clone(),
            build_id: row.build_id,
            resources: row.resources,
            policy: command.policy(has_memory),
            env_vars: command.env_vars,
            access_token: self.token_of(&row),
            timeout,
            wait_for_interpreter: self.options().wait_for_interpreter,
            from: None,
        };
        let max = caller.team.max_sandboxes.unwrap_or(self.options().max_sandboxes);
        let (app, once) = (self.clone(), command.once);
        self.detached(async move { app.start_once(once, row, order, max).await }).await
    }

    pub(super) fn checked_timeout(&self, seconds: i64) -> Result<Duration, Error> {
        let max = self.options().max_lifetime;
        match u64::try_from(seconds) {
            Err(_) | Ok(0) => Err(Error::Refused("Timeout must be greater than 0".to_owned())),
            Ok(seconds) if seconds > max.as_secs() => Err(too_long(max)),
            Ok(seconds) => Ok(Duration::from_secs(seconds)),
        }
    }

    fn row(
        &self,
        caller: &Caller,
        sandbox_id: SandboxId,
        command: &CreateCommand,
        resolved: &Resolved,
        build: &Build,
    ) -> store::Sandbox {
        store::Sandbox {
            sandbox_id,
            team_id: caller.team.team_id,
            template_id: resolved.template.template_id.clone(),
            build_id: build.build_id,
            alias: resolved.alias.clone(),
            resources: build.resources,
            secured: command.secured,
            allow_internet: command.allow_internet,
            network: command.network.clone(),
            metadata: command.metadata.clone(),
            intent: Intent::Starting,
            created_at: self.options().clock.now(),
        }
    }

    /// Derived, not stored: the token of a sandbox that demands one.
    pub(super) fn token_of(&self, row: &store::Sandbox) -> Option<String> {
        row.secured.then(|| token::envd(&self.options().seed, &row.sandbox_id))
    }

    async fn start_once(
        &self,
        once: Option<Once>,
        row: store::Sandbox,
        order: CreateSandbox,
        max: u64,
    ) -> Result<Live, Error> {
        let _guard = self.in_flight(row.sandbox_id.clone());
        let Some(once) = once else { return self.start(row, order, max).await };
        let claim = match self.claim(&once, &row).await? {
            Claimed::Earlier(live) => return Ok(*live),
            Claimed::New(claim) => claim,
        };
        let started = self.start(row, order, max).await;
        if started.is_err() {
            self.unclaim(&claim).await;
        }
        started
    }

    /// The part with effects. Whatever fails, the row goes only after the node
    /// has undone its part.
    pub(super) async fn start(
        &self,
        row: store::Sandbox,
        order: CreateSandbox,
        max: u64,
    ) -> Result<Live, Error> {
        self.start_by(tokio::time::Instant::now() + self.options().create_limit, row, order, max).await
    }

    /// The same for one of several that have their time together.
    pub(super) async fn start_by(
        &self,
        deadline: tokio::time::Instant,
        row: store::Sandbox,
        order: CreateSandbox,
        max: u64,
    ) -> Result<Live, Error> {
        let began = tokio::time::Instant::now();
        let outcome = self.start_uncounted(deadline, row, order, max).await;
        self.0.meter.note_create(&outcome, began.elapsed());
        outcome
    }

    async fn start_uncounted(
        &self,
        deadline: tokio::time::Instant,
        row: store::Sandbox,
        order: CreateSandbox,
        max: u64,
    ) -> Result<Live, Error> {
        let limit = self.options().create_limit;
        if tokio::time::Instant::now() >= deadline {
            return Err(Error::CreateTimedOut(limit));
        }
        self.refuse_if_leaving()?;
        self.refuse_if_drained().await?;
        // The node books a place meanwhile, and begins once the row is there.
        let (approver, approval) = Approver::new();
        let reserving = async {
            let reserved = self.store().reserve(&row, max).await;
            if let Ok(Reservation::Made) = reserved {
                approver.approve();
            }
            reserved
        };
        let span = tracing::info_span!(target: "warren_trace", "create", sandbox_id = %row.sandbox_id);
        let creating = traced(span, self.node().create(order, approval));
        let (reserved, started) = tokio::join!(reserving, tokio::time::timeout_at(deadline, creating));
        if reserved? == Reservation::Full {
            return Err(Error::TooManySandboxes(max));
        }
        match started.map_or(Err(Error::CreateTimedOut(limit)), |started| started.map_err(refusal)) {
            Ok(observation) => self.acknowledge(row, observation).await,
            Err(error) => {
                self.undo_start(&row.sandbox_id).await;
                Err(error)
            }
        }
    }

    async fn acknowledge(&self, row: store::Sandbox, observation: Observation) -> Result<Live, Error> {
        let event = created_event(&row, observation.started_at);
        match self.store().sandbox_started(&event).await {
            Ok(true) => {
                self.wake_deliveries();
                self.count_start(row.team_id);
                let facts = [("template_id", row.template_id.to_string())];
                self.tell(&row.sandbox_id, LogLevel::Info, "Sandbox started", &facts);
                tracing::info!(sandbox_id = %row.sandbox_id, template_id = %row.template_id, "sandbox started");
                let row = store::Sandbox { intent: Intent::Running, ..row };
                Ok(Live { token: self.token_of(&row), row, observation })
            }
            // Somebody killed it meanwhile; the kill removes it.
            Ok(false) => Err(Error::KilledAtStart(row.sandbox_id)),
            Err(error) => {
                self.undo_start(&row.sandbox_id).await;
                Err(error.into())
            }
        }
    }

    /// Takes a start back as far as possible now; the reconciler does the rest,
    /// since the row stays until the node is clean.
    async fn undo_start(&self, sandbox: &SandboxId) {
        match self.node_kill(sandbox, KilledBy::Operator).await {
            Ok(_) | Err(Error::NoSandbox(_)) => {
                if let Err(error) = self.store().forget(sandbox).await {
                    tracing::error!(sandbox_id = %sandbox, error = &error as &dyn std::error::Error, "a failed start is not forgotten yet");
                }
            }
            Err(error) => {
                tracing::error!(sandbox_id = %sandbox, error = &error as &dyn std::error::Error, "a failed start is not undone yet");
            }
        }
    }
}

pub(super) fn too_long(max: Duration) -> Error {
    Error::Refused(format!("Timeout cannot be greater than {} hours", max.as_secs() / 3600))
}

/// A pause that promises memory is refused, unless the operator lets it keep the
/// files alone; what traffic wakes has to promise memory, as clients rely on it.
fn check_lifecycle(
    command: &CreateCommand,
    memory: Result<(), String>,
    full_pause: FullPause,
) -> Result<(), Error> {
    if command.auto_pause_memory == Some(false) && !command.auto_pause {
        return Err(Error::Refused("autoPauseMemory=false only applies when autoPause is true.".to_owned()));
    }
    if command.auto_pause_memory == Some(false) && command.auto_resume {
        return Err(Error::Refused("autoResume needs a pause that keeps memory.".to_owned()));
    }
    if let (Err(why), FullPause::Refuse) = (memory, full_pause) {
        if command.auto_resume {
            let (what, instead) = ("autoResume, which needs pauses with memory,", "no autoResume");
            return Err(Error::NoMemory { what, instead, why });
        }
        if command.auto_pause && command.auto_pause_memory != Some(false) {
            let (what, instead) = ("autoPause with memory", "autoPauseMemory: false");
            return Err(Error::NoMemory { what, instead, why });
        }
    }
    Ok(())
}

fn refusal(error: node::Error) -> Error {
    match error {
        node::Error::Exhausted { .. } => Error::NoRoom(error),
        node::Error::ShuttingDown => Error::ShuttingDown(error),
        node::Error::DiskFull { .. } => Error::DiskFull(error),
        node::Error::NoLayer { .. } => Error::NoLayer(error),
        other => Error::StartFailed(other),
    }
}

/// Daemons before 0.2.0 cannot demand a token.
fn check_secure(envd_version: &str) -> Result<(), Error> {
    if envd_version.is_empty() {
        return Err(Error::Refused(
            "You need to re-build template to allow using secured access. Please visit \
             https://e2b.dev/docs/sandbox/secured-access for more information."
                .to_owned(),
        ));
    }
    let mut parts = envd_version.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version < (0, 2) {
        return Err(Error::Refused(
            "Template is not compatible with secured access. Please visit \
             https://e2b.dev/docs/sandbox/secured-access for more information."
                .to_owned(),
        ));
    }
    Ok(())
}

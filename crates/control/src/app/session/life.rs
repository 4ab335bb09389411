//! The sandbox of a session: found, made, kept alive by calls, ended.

use std::collections::BTreeMap;

use model::{SandboxId, SessionId, SessionKind, Timestamp};
use store::{Intent, Session};

use super::Error;
use super::slot::{Busy, InUse};
use crate::app::{App, Caller, CreateCommand, Error as AppError, Live, random};
use crate::inside::Inside;

/// The label by which a session's sandbox is found in lists.
const LABEL: &str = "session_id";

/// A session's sandbox as its application sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) session: Session,
    /// `false` while it starts, and while it is paused.
    pub(crate) is_running: bool,
}

/// A running sandbox with a call under way: while this is held, the session is
/// not idle. Dropping it starts the idle time anew.
#[derive(Debug)]
pub(crate) struct Held {
    app: App,
    pub(super) session: Session,
    pub(super) live: Live,
    /// `None` only while it is dropped.
    busy: Option<Busy>,
}

impl Held {
    pub(super) fn inside(&self) -> Inside<'_> {
        Inside { node: self.app.node(), sandbox: &self.session.sandbox_id, token: self.live.token.as_deref() }
    }

    pub(crate) fn shown(&self) -> Shown {
        Shown { session: self.session.clone(), is_running: true }
    }

    /// Why the sandbox is not there any more, if it is not.
    pub(super) fn end(&self) -> Option<String> {
        let id = &self.session.sandbox_id;
        let is_there = self.app.node().get(id).is_some_and(|seen| seen.phase == node::Phase::Running);
        let cause = || self.app.node().ended(id).map(|ended| ended.cause.sentence().to_owned());
        (!is_there).then(|| cause().unwrap_or_else(|| "it is being killed".to_owned()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Over, but its slot stays until the deadline is moved.
        let in_use = self.busy.take().and_then(Busy::over);
        // Without a runtime the server itself is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (app, mut session, live) = (self.app.clone(), self.session.clone(), self.live.clone());
        session.last_activity = app.options().clock.now();
        let work = async move {
            let is_busy = in_use.as_ref().is_some_and(|in_use| in_use.slot().is_busy());
            if let Err(error) = app.note_call(&session, &live, is_busy).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "the end of a call was not noted");
            }
        };
        self.app.0.tasks.spawn_on(work, &runtime);
    }
}

impl App {
    /// Makes the session's sandbox, or finds it.
    pub(crate) async fn session_start(
        &self,
        caller: &Caller,
        id: &SessionId,
        kind: SessionKind,
    ) -> Result<Held, Error> {
        let (app, caller, id) = (self.clone(), caller.clone(), id.clone());
        // Whoever hangs up leaves a whole sandbox or none.
        let held = self.detached(async move {
            let in_use = app.sessions().enter(caller.team.team_id, &id);
            let (session, live) = {
                let _turn = in_use.slot().turn.lock().await;
                match app.live_session(&caller, &id).await? {
                    Some(found) => found,
                    None => app.new_session(&caller, id, kind).await?,
                }
            };
            app.hold(session, live, in_use).await
        });
        Ok(held.await?)
    }

    /// The session's sandbox for a call that does not make one.
    pub(crate) async fn session_find(&self, caller: &Caller, id: &SessionId) -> Result<Held, Error> {
        let in_use = self.sessions().enter(caller.team.team_id, id);
        let found = self.live_session(caller, id).await?;
        let (session, live) = found.ok_or_else(|| Error::NoSandbox(id.clone()))?;
        Ok(self.hold(session, live, in_use).await?)
    }

    /// What the session has. Asking does not keep it alive.
    pub(crate) async fn session_status(
        &self,
        caller: &Caller,
        id: &SessionId,
    ) -> Result<Option<Shown>, Error> {
        let team = caller.team.team_id;
        let Some(mut session) = self.store().session(team, id).await.map_err(AppError::from)? else {
            return Ok(None);
        };
        let row = self.store().sandbox(&session.sandbox_id).await.map_err(AppError::from)?;
        let intent = row.as_ref().map(|row| row.intent);
        let is_starting = match intent {
            // Between the two rows of one start.
            None => self.is_in_flight(&session.sandbox_id),
            Some(intent) => intent == Intent::Starting,
        };
        if is_starting {
            return Ok(Some(Shown { session, is_running: false }));
        }
        if self.sessions().enter(team, id).slot().is_busy() {
            session.last_activity = self.options().clock.now();
        }
        if intent == Some(Intent::Paused) {
            return Ok(Some(Shown { session, is_running: false }));
        }
        let is_running = intent == Some(Intent::Running) && self.is_up(&session.sandbox_id);
        Ok(is_running.then_some(Shown { session, is_running: true }))
    }

    /// Ends the session's sandbox, if it has one.
    pub(crate) async fn session_stop(&self, caller: &Caller, id: &SessionId) -> Result<(), Error> {
        let (app, caller, id) = (self.clone(), caller.clone(), id.clone());
        let stopped = self.detached(async move {
            let in_use = app.sessions().enter(caller.team.team_id, &id);
            let _turn = in_use.slot().turn.lock().await;
            let Some(session) = app.store().session(caller.team.team_id, &id).await? else { return Ok(()) };
            match app.kill(&caller, &session.sandbox_id).await {
                Ok(()) | Err(AppError::NoSandbox(_) | AppError::SandboxEnded { .. }) => {}
                Err(error) => return Err(error),
            }
            Ok(app.store().drop_session(&session).await?)
        });
        Ok(stopped.await?)
    }

    async fn hold(&self, session: Session, live: Live, in_use: InUse) -> Result<Held, AppError> {
        let busy = Some(in_use.call());
        // Somebody paused it by its id: a call wakes it, as `connect` would.
        let live = if live.observation.phase == node::Phase::Running {
            live
        } else {
            let now = self.options().clock.now();
            let lifetime = self.options().session.limits.deadline(now, now, true).since(now);
            let lifetime = lifetime.min(self.options().max_lifetime);
            self.wake(live, lifetime, node::Waking::Kept, None).await?
        };
        let mut held = Held { app: self.clone(), session, live, busy };
        held.live = self.keep_alive(&held.live, self.options().clock.now(), true).await?;
        Ok(held)
    }

    async fn live_session(
        &self,
        caller: &Caller,
        id: &SessionId,
    ) -> Result<Option<(Session, Live)>, AppError> {
        let Some(session) = self.store().session(caller.team.team_id, id).await? else { return Ok(None) };
        match self.sandbox(caller, &session.sandbox_id).await {
            Ok(live) => Ok(Some((session, live))),
            Err(AppError::NoSandbox(_) | AppError::SandboxEnded { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn new_session(
        &self,
        caller: &Caller,
        id: SessionId,
        kind: SessionKind,
    ) -> Result<(Session, Live), AppError> {
        let options = &self.options().session;
        let (template, setting) = match kind {
            SessionKind::CodeInterpreter => (&options.template, "session.template"),
            SessionKind::Custom => (&options.custom_template, "session.custom_template"),
        };
        let template = template.clone().ok_or_else(|| {
            let kind = kind.as_str();
            AppError::Refused(format!("sandbox_type {kind}: no template is configured for it ({setting})"))
        })?;
        let now = self.options().clock.now();
        let session = Session {
            team_id: caller.team.team_id,
            session_id: id,
            sandbox_id: SandboxId::from_random(random()),
            kind,
            created_at: now,
            last_activity: now,
        };
        let command = self.session_command(&session, template, now);
        self.store().put_session(&session).await?;
        match self.create_as(caller, session.sandbox_id.clone(), command).await {
            Ok(live) => Ok((session, live)),
            Err(error) => {
                // A row that stays leads nowhere, which counts as none.
                let _ = self.store().drop_session(&session).await;
                Err(error)
            }
        }
    }

    fn session_command(
        &self,
        session: &Session,
        template: model::TemplateRef,
        now: Timestamp,
    ) -> CreateCommand {
        let limits = self.options().session.limits;
        let lifetime = limits.deadline(now, now, true).since(now).min(self.options().max_lifetime);
        let label = (LABEL.to_owned(), session.session_id.to_string());
        CreateCommand {
            template,
            // A start in whole seconds; the first call says it exactly.
            timeout: i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX).max(1),
            auto_pause: false,
            auto_pause_memory: None,
            auto_resume: false,
            secured: true,
            allow_internet: None,
            network: None,
            metadata: Some(BTreeMap::from([label])),
            env_vars: BTreeMap::new(),
            once: None,
            unmet: Vec::new(),
        }
    }

    /// Moves the end of a session's sandbox to where its activity puts it.
    async fn keep_alive(&self, live: &Live, now: Timestamp, is_busy: bool) -> Result<Live, AppError> {
        let limits = self.options().session.limits;
        let started = live.observation.started_at;
        // Most calls find enough time, and are spared the way to the node.
        if is_busy && limits.fits(started, now, live.observation.deadline) {
            return Ok(live.clone());
        }
        let deadline = limits.deadline(started, now, is_busy).min(started + self.options().max_lifetime);
        self.move_deadline(live, deadline).await
    }

    /// At the end of a call.
    async fn note_call(&self, session: &Session, live: &Live, is_busy: bool) -> Result<(), AppError> {
        self.store().session_called(session, session.last_activity).await?;
        match self.keep_alive(live, session.last_activity, is_busy).await {
            // The call may have been what ended it.
            Ok(_) | Err(AppError::NoSandbox(_) | AppError::SandboxEnding(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn is_up(&self, id: &SandboxId) -> bool {
        self.node().get(id).is_some_and(|seen| seen.phase == node::Phase::Running)
    }

    fn sessions(&self) -> &std::sync::Arc<super::Slots> {
        &self.0.sessions
    }
}

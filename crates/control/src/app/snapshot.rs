//! Snapshots: a sandbox's state, kept under a name, from which others start.
//!
//! The node keeps the state first; the row that names it comes second. A state
//! without a row is nobody's, and the reconciler lets the node forget it.

use std::collections::HashSet;
use std::sync::PoisonError;

use model::{BuildId, SandboxId, TemplateId, TemplateRef};
use node::Keep;
use store::{Build, BuildStatus, Kept, NewSnapshot, Snapshot};
use wire::control::LogLevel;

use super::build::{Starting, checked_tag};
use super::event::checkpointed_event;
use super::read::Live;
use super::{App, Caller, Error, random};
use crate::FullPause;

/// A snapshot with the names that lead to it.
#[derive(Debug, Clone)]
pub(crate) struct NamedSnapshot {
    pub(crate) snapshot: Snapshot,
    /// `namespace/alias`, if it has a name.
    pub(crate) name: Option<String>,
    /// The tag by which it is shown.
    pub(crate) tag: String,
}

/// Which snapshots are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotQuery {
    pub(crate) source: Option<SandboxId>,
    pub(crate) name: Option<TemplateRef>,
}

impl App {
    /// What is to be kept of a sandbox, asked whether with its memory.
    pub(super) fn keep(&self, memory: bool, what: &'static str) -> Result<Keep, Error> {
        if !memory {
            return Ok(Keep::Files);
        }
        match (self.node().memory_checkpoints(), self.options().full_pause) {
            (Ok(()), _) => Ok(Keep::Memory),
            (Err(_), FullPause::Files) => Ok(Keep::Files),
            (Err(why), FullPause::Refuse) => Err(Error::NoMemory { what, instead: "memory: false", why }),
        }
    }

    /// Keeps the state of a running sandbox, which goes on.
    pub(crate) async fn snapshot(
        &self,
        caller: &Caller,
        id: &SandboxId,
        name: Option<TemplateRef>,
        memory: bool,
    ) -> Result<NamedSnapshot, Error> {
        let live = self.sandbox_to_change(caller, id).await?;
        let named = match name {
            None => None,
            Some(name) => Some(self.snapshot_name(caller, &name).await?),
        };
        let keep = self.keep(memory, "a snapshot with memory")?;
        let app = self.clone();
        self.detached(async move { app.take_snapshot(live, named, keep).await }).await
    }

    /// Namespace, name and tag, if a snapshot may be called so.
    async fn snapshot_name(&self, caller: &Caller, name: &TemplateRef) -> Result<SnapshotName, Error> {
        let slug = &caller.team.slug;
        if let Some(namespace) = name.name.namespace.as_deref().filter(|given| given != slug) {
            return Err(Error::Refused(format!("namespace '{namespace}' is not yours")));
        }
        let alias = name.name.alias.clone();
        if !self.store().may_name_snapshot(slug, &alias).await? {
            return Err(Error::Refused(format!("'{alias}' is the name of a template, not of a snapshot")));
        }
        let tag = name.tag.as_deref().map(checked_tag).transpose()?;
        Ok(SnapshotName { namespace: slug.clone(), alias, tag: tag.unwrap_or_else(default_tag) })
    }

    async fn take_snapshot(
        &self,
        live: Live,
        named: Option<SnapshotName>,
        keep: Keep,
    ) -> Result<NamedSnapshot, Error> {
        let (row, id) = (&live.row, &live.row.sandbox_id);
        let build_id = BuildId::from_random(random());
        let template_id = TemplateId::from_random(random());
        let _starting = Starting::new(self, build_id);
        let state =
            self.within(id, self.node().checkpoint(id, keep)).await?.map_err(|e| self.not_kept(id, e))?;
        self.node().keep_checkpoint(&state, &template_id, build_id).await.map_err(Error::of_node)?;
        let now = self.options().clock.now();
        let build = Build {
            build_id,
            template_id,
            status: BuildStatus::Ready,
            resources: row.resources,
            envd_version: live.observation.envd_version.clone(),
            created_at: now,
            finished_at: Some(now),
        };
        let tag = named.as_ref().map_or_else(default_tag, |named| named.tag.clone());
        let new = NewSnapshot {
            team_id: row.team_id,
            name: named.as_ref().map(|named| (named.namespace.clone(), named.alias.clone())),
            tag: tag.clone(),
            source: id.clone(),
            keeps_memory: state.keep == Keep::Memory,
            size: state.size,
            build,
        };
        let event = checkpointed_event(&live, now);
        let entered = self.store().keep_snapshot(&new, &event).await;
        let template_id = match entered {
            Ok(Kept::As(template_id)) => template_id,
            failed => {
                self.forget_state(build_id).await;
                failed?;
                return Err(Error::Refused("the name was given to a template meanwhile".to_owned()));
            }
        };
        self.wake_deliveries();
        let facts = [("snapshot", build_id.to_string()), ("frozen_us", state.frozen.as_micros().to_string())];
        self.tell(id, LogLevel::Info, "Snapshot taken", &facts);
        tracing::info!(sandbox_id = %id, %build_id, "snapshot taken");
        let build = Build { template_id, ..new.build };
        let snapshot = Snapshot {
            build,
            source: new.source,
            keeps_memory: new.keeps_memory,
            size: new.size,
            tags: vec![tag.clone()],
        };
        let name = named.map(|named| format!("{}/{}", named.namespace, named.alias));
        Ok(NamedSnapshot { snapshot, name, tag })
    }

    async fn forget_state(&self, build: BuildId) {
        if let Err(error) = self.node().builds().forget(build).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%build, error, "a state that nobody wants is not forgotten yet");
        }
    }

    /// A row for each name, or for each snapshot without one: the newest.
    pub(crate) async fn snapshots(
        &self,
        caller: &Caller,
        query: &SnapshotQuery,
    ) -> Result<Vec<NamedSnapshot>, Error> {
        let wanted = match &query.name {
            None => None,
            Some(name) => match self.template_named(caller, &name.name).await? {
                Some(found) => Some((found.template.template_id, name.tag.clone())),
                None => return Ok(Vec::new()),
            },
        };
        let (tag, template) = wanted.map_or((None, None), |(template, tag)| (tag, Some(template)));
        let all = self.store().snapshots(caller.team.team_id).await?;
        let fits = |one: &Snapshot| {
            query.source.as_ref().is_none_or(|source| *source == one.source)
                && template.as_ref().is_none_or(|id| *id == one.build.template_id)
                && tag.as_ref().is_none_or(|tag| one.tags.contains(tag))
        };
        let mut seen = HashSet::new();
        let newest = all.into_iter().filter(fits).filter(|one| seen.insert(one.build.template_id.clone()));
        let mut named = Vec::new();
        for snapshot in newest.collect::<Vec<_>>() {
            named.push(self.with_name(snapshot, tag.as_deref()).await?);
        }
        Ok(named)
    }

    async fn with_name(&self, snapshot: Snapshot, wanted: Option<&str>) -> Result<NamedSnapshot, Error> {
        let aliases = self.store().aliases(&snapshot.build.template_id).await?;
        let name = aliases.first().map(|alias| format!("{}/{}", alias.namespace, alias.alias));
        // One whose tags lead to newer ones by now is reached by its own id.
        let tag = wanted.or_else(|| snapshot.tags.first().map(String::as_str));
        let tag = tag.map_or_else(|| snapshot.build.build_id.to_string(), str::to_owned);
        Ok(NamedSnapshot { snapshot, name, tag })
    }

    /// A snapshot of the caller's that a reference leads to.
    pub(super) async fn snapshot_of(&self, caller: &Caller, wanted: &TemplateRef) -> Result<Snapshot, Error> {
        let found = self.ready_build(caller, wanted).await.map_err(|error| match error {
            Error::NoTemplate(id) => Error::NoSuch { what: "snapshot", id },
            other => other,
        });
        let (found, build) = found?;
        self.own_template(caller, &found.template.template_id).await?;
        let all = self.store().snapshots(caller.team.team_id).await?;
        let one = all.into_iter().find(|one| one.build.build_id == build.build_id);
        one.ok_or_else(|| Error::Refused(format!("'{wanted}' is a template, not a snapshot")))
    }

    /// Lets the node forget snapshots that no row names: their takers died, or
    /// could not write the row.
    pub(super) async fn forget_unnamed_states(&self) -> Result<(), Error> {
        let snapshots = self.node().templates().into_iter().filter(|build| build.snapshot);
        for build in snapshots.map(|build| build.build_id) {
            let is_starting =
                || self.0.starting.lock().unwrap_or_else(PoisonError::into_inner).contains(&build);
            // Looked at on both sides: its row may arrive in between.
            if !is_starting() && !self.store().knows_build(build).await? && !is_starting() {
                tracing::warn!(%build, "a snapshot that nobody has a name for is removed");
                self.forget_state(build).await;
            }
        }
        Ok(())
    }

    pub(super) fn not_kept(&self, id: &SandboxId, error: node::Error) -> Error {
        match error {
            node::Error::Paused(_) => Error::NoSandbox(id.clone()),
            node::Error::Checkpoint { .. } => Error::NotKept(error),
            node::Error::DiskFull { .. } => Error::DiskFull(error),
            other => self.not_moved(id, other),
        }
    }
}

/// What a snapshot is to be called.
#[derive(Debug, Clone)]
struct SnapshotName {
    namespace: String,
    alias: String,
    tag: String,
}

fn default_tag() -> String {
    "default".to_owned()
}

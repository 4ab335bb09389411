//! Builds that clients order, from the request to the outcome.

use model::{BuildId, TeamId, TemplateId, Timestamp};

use crate::row::Columns;
use crate::template::{insert_build, read_build};
use crate::writer::Written as _;
use crate::{Build, BuildStatus, Error, Store};

/// A build that is asked for.
#[derive(Debug, Clone)]
pub struct NewBuild {
    /// Who asks.
    pub team_id: TeamId,
    /// The namespace of the name: the team's slug.
    pub namespace: String,
    /// The name.
    pub alias: String,
    /// Tags that lead to the build once it is ready; never empty.
    pub tags: Vec<String>,
    /// The build. Its template is the one to be made if the name is new.
    pub build: Build,
    /// Builds of the team under way at a time.
    pub most_builds: u64,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It waits for its start, as a build of this template.
    Waiting(TemplateId),
    /// The name is the id of a template.
    NameIsId,
    /// The team has as many builds under way as it may.
    TooMany,
}

/// A build with what only its status tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildState {
    /// The build.
    pub build: Build,
    /// Why it failed.
    pub reason: Option<Reason>,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In words.
    pub message: String,
    /// In which step.
    pub step: Option<String>,
}

/// What a build that was replaced before its start says.
const SUPERSEDED: &str = "The build was canceled because it was superseded by a newer one.";

impl Store {
    /// Enters a build that waits for its start: the template and its name if they
    /// are new, the build, its tags. Earlier ones that still wait and share a tag
    /// are given up. One transaction.
    pub async fn begin_build(&self, wanted: &NewBuild) -> Result<Begun, Error> {
        let _change = self.names.changing();
        let op = || Error::query("entering a build");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        let under_way: (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM builds JOIN templates USING (template_id) \
             WHERE templates.team_id = $1 AND builds.status = 'building'",
        )
        .bind(wanted.team_id.to_string())
        .fetch_one(&mut *tx)
        .await
        .map_err(op())?;
        if u64::try_from(under_way.0).unwrap_or(0) >= wanted.most_builds {
            return Ok(Begun::TooMany);
        }
        let named: Option<(String,)> =
            sqlx::query_as("SELECT template_id FROM aliases WHERE namespace = $1 AND alias = $2")
                .bind(&wanted.namespace)
                .bind(&wanted.alias)
                .fetch_optional(&mut *tx)
                .await
                .map_err(op())?;
        let mut build = wanted.build.clone();
        let made = build.created_at.unix_micros();
        if let Some((id,)) = named {
            build.template_id = id.parse().map_err(|_| Error::Corrupt { column: "template_id", text: id })?;
        } else {
            let taken: Option<(i64,)> = sqlx::query_as("SELECT public FROM templates WHERE template_id = $1")
                .bind(&wanted.alias)
                .fetch_optional(&mut *tx)
                .await
                .map_err(op())?;
            if taken.is_some() {
                return Ok(Begun::NameIsId);
            }
            sqlx::query(
                "INSERT INTO templates (template_id, team_id, public, spawn_count, created_at, updated_at) \
                 VALUES ($1, $2, 0, 0, $3, $3)",
            )
            .bind(build.template_id.as_str())
            .bind(wanted.team_id.to_string())
            .bind(made)
            .execute(&mut *tx)
            .await
            .map_err(op())?;
            sqlx::query(
                "INSERT INTO aliases (namespace, alias, template_id, position) VALUES ($1, $2, $3, 0)",
            )
            .bind(&wanted.namespace)
            .bind(&wanted.alias)
            .bind(build.template_id.as_str())
            .execute(&mut *tx)
            .await
            .map_err(op())?;
        }
        for tag in &wanted.tags {
            sqlx::query(
                "UPDATE builds SET status = 'error', reason = $1, finished_at = $2 \
                 WHERE template_id = $3 AND status = 'waiting' \
                 AND build_id IN (SELECT build_id FROM build_tags WHERE tag = $4)",
            )
            .bind(SUPERSEDED)
            .bind(made)
            .bind(build.template_id.as_str())
            .bind(tag)
            .execute(&mut *tx)
            .await
            .map_err(op())?;
        }
        insert_build(&build).execute(&mut *tx).await.map_err(op())?;
        for tag in &wanted.tags {
            sqlx::query("INSERT INTO build_tags (build_id, tag) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(build.build_id.to_string())
                .bind(tag)
                .execute(&mut *tx)
                .await
                .map_err(op())?;
        }
        tx.commit().await.map_err(op())?;
        Ok(Begun::Waiting(build.template_id))
    }

    /// One build of a template, however far it is.
    pub async fn build_state(
        &self,
        template_id: &TemplateId,
        build: BuildId,
    ) -> Result<Option<BuildState>, Error> {
        let row = sqlx::query("SELECT * FROM builds WHERE template_id = $1 AND build_id = $2")
            .bind(template_id.as_str())
            .bind(build.to_string())
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading a build"))?;
        let read = |row| {
            let columns = Columns(row);
            let step = columns.maybe_text("reason_step")?;
            let reason = columns.maybe_text("reason")?.map(|message| Reason { message, step });
            Ok(BuildState { build: read_build(row)?, reason })
        };
        row.as_ref().map(read).transpose()
    }

    /// Says that a waiting build has begun; `false` if it waits no more.
    pub async fn build_begins(&self, build: BuildId) -> Result<bool, Error> {
        let _change = self.names.changing();
        let done =
            sqlx::query("UPDATE builds SET status = 'building' WHERE build_id = $1 AND status = 'waiting'")
                .bind(build.to_string())
                .execute_by(&self.write)
                .await
                .map_err(Error::query("starting a build"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Enters the outcome of a build: its tags lead to it from now on, or it says
    /// why it failed. Changes nothing of one that has an outcome.
    pub async fn build_ended(
        &self,
        build: BuildId,
        failed: Option<&Reason>,
        at: Timestamp,
    ) -> Result<(), Error> {
        let _change = self.names.changing();
        let op = || Error::query("entering the outcome of a build");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        let status = if failed.is_some() { BuildStatus::Error } else { BuildStatus::Ready };
        let changed = sqlx::query(
            "UPDATE builds SET status = $1, reason = $2, reason_step = $3, finished_at = $4 \
             WHERE build_id = $5 AND status IN ('waiting', 'building')",
        )
        .bind(status.as_str())
        .bind(failed.map(|reason| reason.message.clone()))
        .bind(failed.and_then(|reason| reason.step.clone()))
        .bind(at.unix_micros())
        .bind(build.to_string())
        .execute(&mut *tx)
        .await
        .map_err(op())?;
        if changed.rows_affected() > 0 && failed.is_none() {
            sqlx::query(
                "INSERT INTO tags (template_id, tag, build_id, assigned_at) \
                 SELECT builds.template_id, build_tags.tag, builds.build_id, $1 \
                 FROM builds JOIN build_tags ON build_tags.build_id = builds.build_id \
                 WHERE builds.build_id = $2 \
                 ON CONFLICT (template_id, tag) DO UPDATE SET build_id = excluded.build_id, \
                 assigned_at = excluded.assigned_at",
            )
            .bind(at.unix_micros())
            .bind(build.to_string())
            .execute(&mut *tx)
            .await
            .map_err(op())?;
            sqlx::query(
                "UPDATE templates SET updated_at = $1 \
                 WHERE template_id = (SELECT template_id FROM builds WHERE build_id = $2)",
            )
            .bind(at.unix_micros())
            .bind(build.to_string())
            .execute(&mut *tx)
            .await
            .map_err(op())?;
        }
        tx.commit().await.map_err(op())?;
        drop(held);
        self.write.write_back().await.map_err(op())
    }

    /// Builds without an outcome.
    pub async fn unfinished_builds(&self) -> Result<Vec<Build>, Error> {
        let rows = sqlx::query("SELECT * FROM builds WHERE status IN ('waiting', 'building')")
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("reading the builds under way"))?;
        rows.iter().map(read_build).collect()
    }

    /// Those of one team.
    pub async fn unfinished_builds_of(&self, team_id: TeamId) -> Result<Vec<Build>, Error> {
        let rows = sqlx::query(
            "SELECT builds.* FROM builds JOIN templates USING (template_id) \
             WHERE templates.team_id = $1 AND builds.status IN ('waiting', 'building')",
        )
        .bind(team_id.to_string())
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("reading the builds of a team"))?;
        rows.iter().map(read_build).collect()
    }

    /// The builds of a template, newest first.
    pub async fn builds_of(&self, template_id: &TemplateId) -> Result<Vec<Build>, Error> {
        let rows =
            sqlx::query("SELECT * FROM builds WHERE template_id = $1 ORDER BY created_at DESC, build_id")
                .bind(template_id.as_str())
                .fetch_all(&self.read)
                .await
                .map_err(Error::query("listing builds"))?;
        rows.iter().map(read_build).collect()
    }
}

//! Templates, the names that lead to them, their builds and tags.

use std::fmt;
use std::str::FromStr;

use model::{BuildId, Resources, TeamId, TemplateId, Timestamp};
use sqlx::any::AnyRow;

use crate::row::{Columns, column};
use crate::{Error, Store};

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStatus {
    /// Asked for, not begun.
    Waiting,
    /// Under way.
    Building,
    /// Sandboxes can start from it.
    Ready,
    /// It failed.
    Error,
}

impl BuildStatus {
    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for BuildStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuildStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Waiting, Self::Building, Self::Ready, Self::Error];
        all.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// One template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub template_id: TemplateId,
    /// Its owner; `None` for one that comes with the server.
    pub team_id: Option<TeamId>,
    /// Whether other teams may start from it.
    pub public: bool,
    /// How many sandboxes were started from it.
    pub spawn_count: u64,
    /// When the last of them was.
    pub last_spawned_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its newest build became ready.
    pub updated_at: Timestamp,
}

/// A name that leads to a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The team's slug; empty for a name that holds everywhere.
    pub namespace: String,
    /// The name.
    pub alias: String,
}

/// One build of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its id.
    pub build_id: BuildId,
    /// Its template.
    pub template_id: TemplateId,
    /// How far it is.
    pub status: BuildStatus,
    /// What sandboxes of it may use.
    pub resources: Resources,
    /// Version of the daemon inside.
    pub envd_version: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it became ready or failed.
    pub finished_at: Option<Timestamp>,
}

/// A template with everything that a list shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateSummary {
    /// The template.
    pub template: Template,
    /// Its names, first one first.
    pub aliases: Vec<Alias>,
    /// Its newest build.
    pub newest_build: Build,
    /// How many builds it has.
    pub build_count: u64,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The template.
    pub template: Template,
    /// Its first alias.
    pub alias: Option<String>,
}

pub(crate) fn read_template(row: &AnyRow) -> Result<Template, Error> {
    let row = Columns(row);
    Ok(Template {
        template_id: row.parsed("template_id")?,
        team_id: row.maybe_parsed("team_id")?,
        public: row.flag("public")?,
        spawn_count: row.unsigned("spawn_count")?,
        last_spawned_at: row.maybe_moment("last_spawned_at")?,
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
    })
}

pub(crate) fn read_build(row: &AnyRow) -> Result<Build, Error> {
    read_build_made(&Columns(row), "created_at")
}

/// In a row that begins with the columns of its template.
fn read_build_beside_template(row: &Columns<'_>) -> Result<Build, Error> {
    read_build_made(row, "build_created_at")
}

fn read_build_made(row: &Columns<'_>, created_at: &'static str) -> Result<Build, Error> {
    Ok(Build {
        build_id: row.parsed("build_id")?,
        template_id: row.parsed("template_id")?,
        status: row.parsed("status")?,
        resources: row.resources()?,
        envd_version: row.text("envd_version")?,
        created_at: row.moment(created_at)?,
        finished_at: row.maybe_moment("finished_at")?,
    })
}

/// `$1` namespace, `$2` name, `$3` whether no other namespace counts, `$4` tag,
/// `$5` build id in place of a tag.
const RESOLVE: &str = "WITH found AS ( \
     SELECT templates.*, 1 AS rank FROM templates JOIN aliases USING (template_id) \
     WHERE aliases.namespace = $1 AND aliases.alias = $2 \
     UNION ALL SELECT templates.*, 2 AS rank FROM templates JOIN aliases USING (template_id) \
     WHERE $3 = 0 AND aliases.namespace = '' AND aliases.alias = $2 \
     UNION ALL SELECT templates.*, 3 AS rank FROM templates WHERE $3 = 0 AND template_id = $2 \
     ORDER BY rank LIMIT 1) \
     SELECT found.*, \
     (SELECT alias FROM aliases WHERE aliases.template_id = found.template_id \
     ORDER BY position, alias LIMIT 1) AS first_alias, \
     builds.build_id, builds.status, builds.cpu_count, builds.memory_bytes, builds.disk_bytes, \
     builds.envd_version, builds.created_at AS build_created_at, builds.finished_at \
     FROM found LEFT JOIN builds ON builds.status = 'ready' AND builds.template_id = found.template_id \
     AND builds.build_id = COALESCE($5, (SELECT tags.build_id FROM tags \
     WHERE tags.template_id = found.template_id AND tags.tag = $4))";

/// What [`Store::resolve_build`] is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    namespace: String,
    alias: String,
    is_whole: bool,
    build: String,
}

impl Store {
    /// Writes a ready build of a template that comes with the server: the
    /// template, its names everywhere, the build, and the tag `default` on it
    /// unless a newer build has it. One transaction; safe twice.
    pub async fn put_builtin(&self, build: &Build, aliases: &[String]) -> Result<(), Error> {
        let _change = self.names.changing();
        let op = || Error::query("registering a built-in template");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        let (template_id, build_id) = (build.template_id.as_str(), build.build_id.to_string());
        let made = build.created_at.unix_micros();
        sqlx::query(
            "INSERT INTO templates (template_id, team_id, public, spawn_count, created_at, updated_at) \
             VALUES ($1, NULL, 1, 0, $2, $2) ON CONFLICT (template_id) DO UPDATE SET \
             updated_at = CASE WHEN templates.updated_at < $2 THEN $2 ELSE templates.updated_at END",
        )
        .bind(template_id)
        .bind(made)
        .execute(&mut *tx)
        .await
        .map_err(op())?;
        for (position, alias) in (0_i64..).zip(aliases) {
            sqlx::query(
                "INSERT INTO aliases (namespace, alias, template_id, position) VALUES ('', $1, $2, $3) \
                 ON CONFLICT (namespace, alias) DO UPDATE SET template_id = $2, position = $3",
            )
            .bind(alias)
            .bind(template_id)
            .bind(position)
            .execute(&mut *tx)
            .await
            .map_err(op())?;
        }
        insert_build(build).execute(&mut *tx).await.map_err(op())?;
        sqlx::query(
            "INSERT INTO tags (template_id, tag, build_id, assigned_at) VALUES ($1, 'default', $2, $3) \
             ON CONFLICT (template_id, tag) DO UPDATE SET build_id = $2, assigned_at = $3 \
             WHERE tags.assigned_at <= $3",
        )
        .bind(template_id)
        .bind(&build_id)
        .bind(made)
        .execute(&mut *tx)
        .await
        .map_err(op())?;
        tx.commit().await.map_err(op())
    }

    /// Follows a name: within a namespace exactly that; else the caller's own
    /// namespace, then the names that hold everywhere, then template ids.
    pub async fn resolve(
        &self,
        namespace: Option<&str>,
        alias: &str,
        own_namespace: &str,
    ) -> Result<Option<Resolved>, Error> {
        let found = self.resolve_build(namespace, alias, own_namespace, "default").await?;
        Ok(found.map(|(resolved, _)| resolved))
    }

    /// The same, with the ready build that a tag of it leads to, or that has this
    /// id. One statement: a create asks for nothing else of templates.
    pub async fn resolve_build(
        &self,
        namespace: Option<&str>,
        alias: &str,
        own_namespace: &str,
        build: &str,
    ) -> Result<Option<(Resolved, Option<Build>)>, Error> {
        let asked = Asked {
            namespace: namespace.unwrap_or(own_namespace).to_owned(),
            alias: alias.to_owned(),
            is_whole: namespace.is_some(),
            build: build.to_owned(),
        };
        let before = match self.names.find(&asked) {
            Ok(found) => return Ok(Some(found)),
            Err(before) => before,
        };
        let row = sqlx::query(RESOLVE)
            .bind(namespace.unwrap_or(own_namespace))
            .bind(alias)
            .bind(i64::from(namespace.is_some()))
            .bind(build)
            .bind(build.parse::<BuildId>().ok().map(|id| id.to_string()))
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("following a template name"))?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns(&row);
        let resolved = Resolved { template: read_template(&row)?, alias: columns.maybe_text("first_alias")? };
        let has_build = columns.maybe_text("build_id")?.is_some();
        let build = has_build.then(|| read_build_beside_template(&columns)).transpose()?;
        let found = (resolved, build);
        self.names.keep(before, asked, found.clone());
        Ok(Some(found))
    }

    /// The names of a template, first one first.
    pub async fn aliases(&self, template_id: &TemplateId) -> Result<Vec<Alias>, Error> {
        let rows = sqlx::query(
            "SELECT namespace, alias FROM aliases WHERE template_id = $1 ORDER BY position, alias",
        )
        .bind(template_id.as_str())
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("reading template names"))?;
        let read = |row| {
            Ok(Alias { namespace: Columns(row).text("namespace")?, alias: Columns(row).text("alias")? })
        };
        rows.iter().map(read).collect()
    }

    /// The templates that a team sees in its list (its own and those that come
    /// with the server, but no snapshots), newest first.
    pub async fn templates_of(&self, team_id: TeamId) -> Result<Vec<TemplateSummary>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM templates WHERE (team_id = $1 OR team_id IS NULL) AND kind = 'template' \
             ORDER BY created_at DESC, template_id",
        )
        .bind(team_id.to_string())
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("listing templates"))?;
        let mut summaries = Vec::with_capacity(rows.len());
        for row in &rows {
            summaries.extend(self.summary(read_template(row)?).await?);
        }
        Ok(summaries)
    }

    /// What a list shows of a template; `None` for one without any build.
    pub async fn summary(&self, template: Template) -> Result<Option<TemplateSummary>, Error> {
        let builds =
            sqlx::query("SELECT * FROM builds WHERE template_id = $1 ORDER BY created_at DESC, build_id")
                .bind(template.template_id.as_str())
                .fetch_all(&self.read)
                .await
                .map_err(Error::query("listing builds"))?;
        let Some(newest) = builds.first() else { return Ok(None) };
        Ok(Some(TemplateSummary {
            aliases: self.aliases(&template.template_id).await?,
            newest_build: read_build(newest)?,
            build_count: builds.len() as u64,
            template,
        }))
    }
}

/// A build that is there already keeps what it says but for its readiness.
pub(crate) fn insert_build(build: &Build) -> sqlx::query::Query<'static, sqlx::Any, sqlx::any::AnyArguments> {
    sqlx::query(
        "INSERT INTO builds (build_id, template_id, status, cpu_count, memory_bytes, disk_bytes, \
         envd_version, created_at, finished_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (build_id) DO UPDATE SET status = $3, cpu_count = $4, memory_bytes = $5, \
         disk_bytes = $6, envd_version = $7, finished_at = $9",
    )
    .bind(build.build_id.to_string())
    .bind(build.template_id.to_string())
    .bind(build.status.as_str())
    .bind(i64::from(build.resources.cpu_count))
    .bind(column(build.resources.memory.as_u64()))
    .bind(column(build.resources.disk.as_u64()))
    .bind(build.envd_version.clone())
    .bind(build.created_at.unix_micros())
    .bind(build.finished_at.map(Timestamp::unix_micros))
}

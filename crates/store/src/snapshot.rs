//! Snapshots of sandboxes: templates of their own kind, with a build for each
//! time that one was taken under the same name.

use model::{BuildId, ByteSize, SandboxId, TeamId, TemplateId, Timestamp};
use sqlx::AnyConnection;

use crate::row::{Columns, column};
use crate::template::{insert_build, read_build};
use crate::{Build, Error, Event, Store, event};

/// A snapshot that the node has taken.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// Whose it is.
    pub team_id: TeamId,
    /// Namespace and name, if it is to have one.
    pub name: Option<(String, String)>,
    /// The tag that leads to it.
    pub tag: String,
    /// Which sandbox it was taken of.
    pub source: SandboxId,
    /// Whether its memory is kept too.
    pub keeps_memory: bool,
    /// What it takes on disk.
    pub size: ByteSize,
    /// What sandboxes start from. Its template is the one to be made if the name is new.
    pub build: Build,
}

/// What came of entering one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is a build of this template.
    As(TemplateId),
    /// The name is that of a template which is no snapshot, or an id of one.
    NameTaken,
}

/// One snapshot as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What sandboxes start from.
    pub build: Build,
    /// Which sandbox it was taken of.
    pub source: SandboxId,
    /// Whether its memory is kept too.
    pub keeps_memory: bool,
    /// What it takes on disk.
    pub size: ByteSize,
    /// Its tags, newest assignment first.
    pub tags: Vec<String>,
}

impl Store {
    /// Enters a snapshot: its template and name if they are new, its build, its
    /// tag, and the event that tells of it. One transaction.
    pub async fn keep_snapshot(&self, new: &NewSnapshot, event: &Event) -> Result<Kept, Error> {
        let _change = self.names.changing();
        let op = || Error::query("entering a snapshot");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        let Some(template_id) = snapshot_template(&mut tx, new).await? else { return Ok(Kept::NameTaken) };
        let build = Build { template_id: template_id.clone(), ..new.build.clone() };
        let (build_id, made) = (build.build_id.to_string(), build.created_at.unix_micros());
        insert_build(&build).execute(&mut *tx).await.map_err(op())?;
        sqlx::query(
            "UPDATE builds SET source_sandbox = $1, keeps_memory = $2, size_bytes = $3 WHERE build_id = $4",
        )
        .bind(new.source.as_str())
        .bind(i64::from(new.keeps_memory))
        .bind(column(new.size.as_u64()))
        .bind(&build_id)
        .execute(&mut *tx)
        .await
        .map_err(op())?;
        sqlx::query(
            "INSERT INTO tags (template_id, tag, build_id, assigned_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (template_id, tag) DO UPDATE SET build_id = $3, assigned_at = $4",
        )
        .bind(template_id.as_str())
        .bind(&new.tag)
        .bind(&build_id)
        .bind(made)
        .execute(&mut *tx)
        .await
        .map_err(op())?;
        event::insert(&mut tx, event).await?;
        tx.commit().await.map_err(op())?;
        drop(held);
        self.write.write_back().await.map_err(op())?;
        Ok(Kept::As(template_id))
    }

    /// Whether a name is free for snapshots, or that of one.
    pub async fn may_name_snapshot(&self, namespace: &str, alias: &str) -> Result<bool, Error> {
        let mut connection =
            self.read.acquire().await.map_err(Error::query("looking for a snapshot's name"))?;
        Ok(!matches!(named(&mut connection, namespace, alias).await?, Named::Other))
    }

    /// Every snapshot of a team, newest first.
    pub async fn snapshots(&self, team_id: TeamId) -> Result<Vec<Snapshot>, Error> {
        let rows = sqlx::query(
            "SELECT builds.* FROM builds JOIN templates USING (template_id) \
             WHERE templates.team_id = $1 AND templates.kind = 'snapshot' AND builds.status = 'ready' \
             ORDER BY builds.created_at DESC, builds.build_id",
        )
        .bind(team_id.to_string())
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("listing snapshots"))?;
        let tags = self.tags_of_snapshots(team_id).await?;
        let read = |row| {
            let build = read_build(row)?;
            let row = Columns(row);
            let own = tags.iter().filter(|(id, _)| *id == build.build_id).map(|(_, tag)| tag.clone());
            Ok(Snapshot {
                source: row.parsed("source_sandbox")?,
                keeps_memory: row.flag("keeps_memory")?,
                size: row.size("size_bytes")?,
                tags: own.collect(),
                build,
            })
        };
        rows.iter().map(read).collect()
    }

    async fn tags_of_snapshots(&self, team_id: TeamId) -> Result<Vec<(BuildId, String)>, Error> {
        let rows = sqlx::query(
            "SELECT tags.build_id, tags.tag FROM tags JOIN templates USING (template_id) \
             WHERE templates.team_id = $1 AND templates.kind = 'snapshot' \
             ORDER BY tags.assigned_at DESC, tags.tag",
        )
        .bind(team_id.to_string())
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("reading the tags of snapshots"))?;
        rows.iter().map(|row| Ok((Columns(row).parsed("build_id")?, Columns(row).text("tag")?))).collect()
    }

    /// Whether a build is written down, however far it is.
    pub async fn knows_build(&self, build: BuildId) -> Result<bool, Error> {
        let found: Option<(String,)> = sqlx::query_as("SELECT status FROM builds WHERE build_id = $1")
            .bind(build.to_string())
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("looking for a build"))?;
        Ok(found.is_some())
    }
}

enum Named {
    Nothing,
    Snapshot(TemplateId),
    Other,
}

async fn named(connection: &mut AnyConnection, namespace: &str, alias: &str) -> Result<Named, Error> {
    let op = || Error::query("looking for a snapshot's name");
    let found: Option<(String, String)> = sqlx::query_as(
        "SELECT template_id, kind FROM templates JOIN aliases USING (template_id) \
         WHERE aliases.namespace = $1 AND aliases.alias = $2",
    )
    .bind(namespace)
    .bind(alias)
    .fetch_optional(&mut *connection)
    .await
    .map_err(op())?;
    if let Some((id, kind)) = found {
        let parsed = id.parse().map_err(|_| Error::Corrupt { column: "template_id", text: id })?;
        return Ok(if kind == "snapshot" { Named::Snapshot(parsed) } else { Named::Other });
    }
    let id: Option<(String,)> = sqlx::query_as("SELECT template_id FROM templates WHERE template_id = $1")
        .bind(alias)
        .fetch_optional(&mut *connection)
        .await
        .map_err(op())?;
    Ok(if id.is_some() { Named::Other } else { Named::Nothing })
}

/// The template of that name, made if need be; `None` if it is no snapshot's.
async fn snapshot_template(
    connection: &mut AnyConnection,
    new: &NewSnapshot,
) -> Result<Option<TemplateId>, Error> {
    let op = || Error::query("entering a snapshot");
    let made = new.build.created_at;
    if let Some((namespace, alias)) = &new.name {
        match named(connection, namespace, alias).await? {
            Named::Other => return Ok(None),
            Named::Snapshot(template_id) => {
                touch(connection, &template_id, made).await?;
                return Ok(Some(template_id));
            }
            Named::Nothing => {}
        }
    }
    let template_id = &new.build.template_id;
    sqlx::query(
        "INSERT INTO templates (template_id, team_id, public, spawn_count, created_at, updated_at, kind) \
         VALUES ($1, $2, 0, 0, $3, $3, 'snapshot')",
    )
    .bind(template_id.as_str())
    .bind(new.team_id.to_string())
    .bind(made.unix_micros())
    .execute(&mut *connection)
    .await
    .map_err(op())?;
    if let Some((namespace, alias)) = &new.name {
        sqlx::query("INSERT INTO aliases (namespace, alias, template_id, position) VALUES ($1, $2, $3, 0)")
            .bind(namespace)
            .bind(alias)
            .bind(template_id.as_str())
            .execute(&mut *connection)
            .await
            .map_err(op())?;
    }
    Ok(Some(template_id.clone()))
}

async fn touch(connection: &mut AnyConnection, template: &TemplateId, at: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE templates SET updated_at = $1 WHERE template_id = $2")
        .bind(at.unix_micros())
        .bind(template.as_str())
        .execute(connection)
        .await
        .map(drop)
        .map_err(Error::query("entering a snapshot"))
}

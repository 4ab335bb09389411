//! Tags of templates, and what else their owner changes about them.

use model::{BuildId, TemplateId, Timestamp};

use crate::row::Columns;
use crate::template::read_template;
use crate::writer::Written as _;
use crate::{Error, Store, Template};

/// A name for one build of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The tag.
    pub tag: String,
    /// The build that it leads to.
    pub build_id: BuildId,
    /// Since when.
    pub assigned_at: Timestamp,
}

/// What came of removing a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Sandboxes stand on it: running ones, or with `asleep` none but paused ones.
    InUse {
        /// None of them runs.
        asleep: bool,
    },
    /// It is gone; these were its builds.
    Done(Vec<BuildId>),
}

impl Store {
    /// Lets tags lead to a build.
    pub async fn assign_tags(
        &self,
        template_id: &TemplateId,
        build: BuildId,
        tags: &[String],
        at: Timestamp,
    ) -> Result<(), Error> {
        let _change = self.names.changing();
        let op = || Error::query("assigning tags");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        for tag in tags {
            sqlx::query(
                "INSERT INTO tags (template_id, tag, build_id, assigned_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (template_id, tag) DO UPDATE SET build_id = $3, assigned_at = $4",
            )
            .bind(template_id.as_str())
            .bind(tag)
            .bind(build.to_string())
            .bind(at.unix_micros())
            .execute(&mut *tx)
            .await
            .map_err(op())?;
        }
        tx.commit().await.map_err(op())?;
        drop(held);
        self.write.write_back().await.map_err(op())
    }

    /// Removes tags; those that are not there are no matter.
    pub async fn remove_tags(&self, template_id: &TemplateId, tags: &[String]) -> Result<(), Error> {
        let _change = self.names.changing();
        let op = || Error::query("removing tags");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        for tag in tags {
            sqlx::query("DELETE FROM tags WHERE template_id = $1 AND tag = $2")
                .bind(template_id.as_str())
                .bind(tag)
                .execute(&mut *tx)
                .await
                .map_err(op())?;
        }
        tx.commit().await.map_err(op())?;
        drop(held);
        self.write.write_back().await.map_err(op())
    }

    /// The tags of a template, newest assignment first.
    pub async fn tags_of(&self, template_id: &TemplateId) -> Result<Vec<Tag>, Error> {
        let rows = sqlx::query(
            "SELECT tag, build_id, assigned_at FROM tags WHERE template_id = $1 \
             ORDER BY assigned_at DESC, tag",
        )
        .bind(template_id.as_str())
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("reading tags"))?;
        let read = |row| {
            let row = Columns(row);
            Ok(Tag {
                tag: row.text("tag")?,
                build_id: row.parsed("build_id")?,
                assigned_at: row.moment("assigned_at")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// A template by its id.
    pub async fn template(&self, template_id: &TemplateId) -> Result<Option<Template>, Error> {
        let row = sqlx::query("SELECT * FROM templates WHERE template_id = $1")
            .bind(template_id.as_str())
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading a template"))?;
        row.as_ref().map(read_template).transpose()
    }

    /// Opens a template to other teams, or closes it.
    pub async fn set_public(&self, template_id: &TemplateId, public: bool) -> Result<(), Error> {
        let _change = self.names.changing();
        sqlx::query("UPDATE templates SET public = $1 WHERE template_id = $2")
            .bind(i64::from(public))
            .bind(template_id.as_str())
            .store_by(&self.write)
            .await
            .map(drop)
            .map_err(Error::query("publishing a template"))
    }

    /// Removes a template with its names, tags and builds, unless a sandbox
    /// stands on it. One transaction, so that no sandbox comes in between.
    pub async fn remove_template(&self, template_id: &TemplateId) -> Result<Removal, Error> {
        let _change = self.names.changing();
        let op = || Error::query("removing a template");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        let id = template_id.as_str();
        let used: Option<(String,)> = sqlx::query_as(
            "SELECT intent FROM sandboxes WHERE template_id = $1 ORDER BY intent = 'paused' LIMIT 1",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await
        .map_err(op())?;
        if let Some((intent,)) = used {
            return Ok(Removal::InUse { asleep: intent == "paused" });
        }
        let builds: Vec<(String,)> = sqlx::query_as("SELECT build_id FROM builds WHERE template_id = $1")
            .bind(id)
            .fetch_all(&mut *tx)
            .await
            .map_err(op())?;
        for statement in [
            "DELETE FROM tags WHERE template_id = $1",
            "DELETE FROM build_tags WHERE build_id IN (SELECT build_id FROM builds WHERE template_id = $1)",
            "DELETE FROM builds WHERE template_id = $1",
            "DELETE FROM aliases WHERE template_id = $1",
            "DELETE FROM templates WHERE template_id = $1",
        ] {
            sqlx::query(statement).bind(id).execute(&mut *tx).await.map_err(op())?;
        }
        tx.commit().await.map_err(op())?;
        drop(held);
        self.write.write_back().await.map_err(op())?;
        Ok(Removal::Done(builds.into_iter().filter_map(|(build,)| build.parse().ok()).collect()))
    }
}

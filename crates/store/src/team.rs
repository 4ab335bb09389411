//! Teams: the owners of keys, templates and sandboxes.

use model::{TeamId, Timestamp};
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::{Error, Store};

/// One team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub team_id: TeamId,
    /// Its name for people.
    pub name: String,
    /// Its namespace in template names.
    pub slug: String,
    /// Whether it is the one that a fresh server makes.
    pub is_default: bool,
    /// Its own limit of concurrent sandboxes; `None` is the server's.
    pub max_sandboxes: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
}

pub(crate) fn read(row: &AnyRow) -> Result<Team, Error> {
    let row = Columns(row);
    Ok(Team {
        team_id: row.parsed("team_id")?,
        name: row.text("name")?,
        slug: row.text("slug")?,
        is_default: row.flag("is_default")?,
        max_sandboxes: row.maybe_integer("max_sandboxes")?.and_then(|n| u64::try_from(n).ok()),
        created_at: row.moment("created_at")?,
    })
}

impl Store {
    /// Adds a team unless one with its slug is there; answers the one that is.
    pub async fn ensure_team(&self, team: &Team) -> Result<Team, Error> {
        let row = sqlx::query(
            "INSERT INTO teams (team_id, name, slug, is_default, max_sandboxes, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (slug) DO UPDATE SET is_default = teams.is_default RETURNING *",
        )
        .bind(team.team_id.to_string())
        .bind(&team.name)
        .bind(&team.slug)
        .bind(i64::from(team.is_default))
        .bind(team.max_sandboxes.map(crate::row::column))
        .bind(team.created_at.unix_micros())
        .fetch_one(&self.write)
        .await
        .map_err(Error::query("adding a team"))?;
        read(&row)
    }

    /// The team that a fresh server makes, once it is made.
    pub async fn default_team(&self) -> Result<Option<Team>, Error> {
        let row = sqlx::query("SELECT * FROM teams WHERE is_default = 1")
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading the default team"))?;
        row.as_ref().map(read).transpose()
    }
}

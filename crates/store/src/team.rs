//! Teams: the owners of keys, templates and sandboxes.

use std::str::FromStr;

use model::{TeamId, Timestamp};
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::writer::Written as _;
use crate::{Error, Store};

/// How a team stands with the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It may do everything.
    #[default]
    Good,
    /// It may read and remove what it has, and make nothing new.
    Blocked,
    /// It may do nothing.
    Banned,
}

impl Standing {
    const ALL: [Self; 3] = [Self::Good, Self::Blocked, Self::Banned];

    /// The name used in the store and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Blocked => "blocked",
            Self::Banned => "banned",
        }
    }
}

impl FromStr for Standing {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == text).ok_or(())
    }
}

/// What is to change about a team; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct TeamChange {
    /// Its name.
    pub name: Option<String>,
    /// Its own limit of concurrent sandboxes; `Some(None)` goes back to the server's.
    pub max_sandboxes: Option<Option<u64>>,
    /// Its standing.
    pub standing: Option<Standing>,
}

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
    /// How it stands with the operator.
    pub standing: Standing,
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
        standing: row.parsed("standing")?,
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
        .fetch_one_by(&self.write)
        .await
        .map_err(Error::query("adding a team"))?;
        self.write.write_back().await.map_err(Error::query("adding a team"))?;
        read(&row)
    }

    /// Every team, the default one first, then by name.
    pub async fn teams(&self) -> Result<Vec<Team>, Error> {
        let rows = sqlx::query("SELECT * FROM teams ORDER BY is_default DESC, name, team_id LIMIT 10000")
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("listing teams"))?;
        rows.iter().map(read).collect()
    }

    /// One team.
    pub async fn team(&self, team_id: TeamId) -> Result<Option<Team>, Error> {
        let row = sqlx::query("SELECT * FROM teams WHERE team_id = $1")
            .bind(team_id.to_string())
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading a team"))?;
        row.as_ref().map(read).transpose()
    }

    /// Changes a team; `None` if there is none.
    pub async fn change_team(&self, team_id: TeamId, change: &TeamChange) -> Result<Option<Team>, Error> {
        let _change = self.keys.changing();
        let max = change.max_sandboxes;
        let row = sqlx::query(
            "UPDATE teams SET name = COALESCE($2, name), standing = COALESCE($3, standing), \
             max_sandboxes = CASE WHEN $4 = 1 THEN $5 ELSE max_sandboxes END \
             WHERE team_id = $1 RETURNING *",
        )
        .bind(team_id.to_string())
        .bind(change.name.as_deref())
        .bind(change.standing.map(Standing::as_str))
        .bind(i64::from(max.is_some()))
        .bind(max.flatten().map(crate::row::column))
        .fetch_optional_by(&self.write)
        .await
        .map_err(Error::query("changing a team"))?;
        self.write.write_back().await.map_err(Error::query("changing a team"))?;
        row.as_ref().map(read).transpose()
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

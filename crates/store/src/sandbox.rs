//! Sandboxes that should exist, and what was asked of them.
//!
//! ```text
//! (none) ── reserve ──▶ starting ── sandbox_started ──▶ running ◀─ wake ─┐
//!               │                                        │  └─ sleep ▶ paused
//!               │                                          │ (either)
//!           forget (start failed)      intend_end ──▶ ending
//!               ▼                                          │
//!            (none)                        end (with its record) ▼ (none)
//! ```
//!
//! A row is there before the node is asked to do anything, and goes after the
//! node has done it: so a crash in between leaves a row that tells what to undo.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use model::{BuildId, Resources, SandboxId, TeamId, TemplateId, Timestamp};
use sqlx::any::AnyRow;

use crate::row::{Columns, column};
use crate::writer::Written as _;
use crate::{Error, Event, Store, event};

/// What is wanted of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// A create was accepted and has not been answered.
    Starting,
    /// It was answered: it should run.
    Running,
    /// It sleeps, and takes no place in its team's limit.
    Paused,
    /// A kill was accepted.
    Ending,
}

impl Intent {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Ending => "ending",
        }
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Intent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Starting, Self::Running, Self::Paused, Self::Ending]
            .into_iter()
            .find(|i| i.as_str() == text)
            .ok_or(())
    }
}

/// One sandbox as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub sandbox_id: SandboxId,
    /// Whose it is.
    pub team_id: TeamId,
    /// The template it is based on.
    pub template_id: TemplateId,
    /// The build it starts from.
    pub build_id: BuildId,
    /// The template's first alias at that time.
    pub alias: Option<String>,
    /// What it may use.
    pub resources: Resources,
    /// Whether its daemon demands a token.
    pub secured: bool,
    /// `allow_internet_access` as given.
    pub allow_internet: Option<bool>,
    /// The network configuration as given (JSON), for the echo.
    pub network: Option<String>,
    /// The user's own labels; `None` when none were given.
    pub metadata: Option<BTreeMap<String, String>>,
    /// What is wanted of it.
    pub intent: Intent,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// Whether there was room in the team's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "without a reservation nothing may be started"]
pub enum Reservation {
    /// The row is written.
    Made,
    /// The team has as many as it may; nothing was written.
    Full,
}

pub(crate) fn read(row: &AnyRow) -> Result<Sandbox, Error> {
    let row = Columns(row);
    Ok(Sandbox {
        sandbox_id: row.parsed("sandbox_id")?,
        team_id: row.parsed("team_id")?,
        template_id: row.parsed("template_id")?,
        build_id: row.parsed("build_id")?,
        alias: row.maybe_text("alias")?,
        resources: row.resources()?,
        secured: row.flag("secured")?,
        allow_internet: row.maybe_integer("allow_internet")?.map(|flag| flag != 0),
        network: row.maybe_text("network")?,
        metadata: row.maybe_text("metadata")?.map(|json| read_metadata(&json)).transpose()?,
        intent: row.parsed("intent")?,
        created_at: row.moment("created_at")?,
    })
}

fn read_metadata(json: &str) -> Result<BTreeMap<String, String>, Error> {
    serde_json::from_str(json)
        .map_err(|_| Error::Corrupt { column: "metadata", text: json.chars().take(64).collect() })
}

fn write_metadata(metadata: &BTreeMap<String, String>) -> String {
    serde_json::to_string(metadata).expect("a map from text to text is always JSON")
}

impl Store {
    /// Writes a sandbox down (as `starting`) if its team has fewer than `max`.
    /// Counting and writing are one statement, so no two creates share a place.
    pub async fn reserve(&self, sandbox: &Sandbox, max: u64) -> Result<Reservation, Error> {
        let written = sqlx::query(
            "INSERT INTO sandboxes (sandbox_id, team_id, template_id, build_id, alias, cpu_count, \
             memory_bytes, disk_bytes, secured, allow_internet, network, metadata, intent, created_at, started_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'starting', $13, $13 \
             WHERE (SELECT COUNT(*) FROM sandboxes WHERE team_id = $2 AND intent <> 'paused') < $14",
        )
        .bind(sandbox.sandbox_id.as_str())
        .bind(sandbox.team_id.to_string())
        .bind(sandbox.template_id.as_str())
        .bind(sandbox.build_id.to_string())
        .bind(sandbox.alias.as_deref())
        .bind(i64::from(sandbox.resources.cpu_count))
        .bind(column(sandbox.resources.memory.as_u64()))
        .bind(column(sandbox.resources.disk.as_u64()))
        .bind(i64::from(sandbox.secured))
        .bind(sandbox.allow_internet.map(i64::from))
        .bind(sandbox.network.as_deref())
        .bind(sandbox.metadata.as_ref().map(write_metadata))
        .bind(sandbox.created_at.unix_micros())
        .bind(column(max))
        .execute_by(&self.write)
        .await
        .map_err(Error::query("writing a sandbox down"))?;
        Ok(if written.rows_affected() == 1 { Reservation::Made } else { Reservation::Full })
    }

    /// Turns `starting` into `running`, counts the start for its template and
    /// writes the event that tells of it, at the event's moment: one statement.
    /// `false` if the row is gone or somebody wants it ended meanwhile.
    pub async fn sandbox_started(&self, created: &Event) -> Result<bool, Error> {
        event::insert_start(&self.write, created).await
    }

    /// Notes that a sandbox sleeps after the run that began at `run`, with the event that
    /// tells of it; one that is to be ended stays so. `false`, and no event, if that was
    /// noted before. Of two who pause it at once, the second may come when a third wakes
    /// it: what they say of a run that is over changes nothing, and what they say while
    /// the next one begins is mended by [`Self::sandbox_woken`].
    pub async fn sandbox_paused(
        &self,
        sandbox: &SandboxId,
        run: Timestamp,
        event: Option<&Event>,
    ) -> Result<bool, Error> {
        let op = || Error::query("noting a pause");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        let changed = sqlx::query(
            "UPDATE sandboxes SET intent = 'paused', started_at = $2 WHERE sandbox_id = $1 \
             AND ((intent = 'running' AND started_at <= $2) OR (intent = 'paused' AND started_at < $2))",
        )
        .bind(sandbox.as_str())
        .bind(run.unix_micros())
        .execute(&mut *tx)
        .await
        .map_err(op())?
        .rows_affected()
            == 1;
        let mut is_new = changed;
        if let Some(event) = event.filter(|_| changed) {
            is_new = event::insert_once(&mut tx, event).await?;
        }
        tx.commit().await.map_err(op())?;
        drop(held);
        self.write.write_back().await.map_err(op())?;
        Ok(is_new)
    }

    /// Takes a place for a sandbox that is to wake, if its team has fewer than
    /// `max`. One that runs has its place; `None` if it has ended or is about to.
    pub async fn reserve_wake(&self, sandbox: &SandboxId, max: u64) -> Result<Option<Reservation>, Error> {
        let written = sqlx::query(
            "UPDATE sandboxes SET intent = 'running' WHERE sandbox_id = $1 AND (intent = 'running' \
             OR (intent = 'paused' AND (SELECT COUNT(*) FROM sandboxes AS others \
             WHERE others.team_id = sandboxes.team_id AND others.intent <> 'paused') < $2))",
        )
        .bind(sandbox.as_str())
        .bind(column(max))
        .execute_by(&self.write)
        .await
        .map_err(Error::query("taking a place for a resume"))?;
        if written.rows_affected() == 1 {
            return Ok(Some(Reservation::Made));
        }
        Ok(match self.sandbox(sandbox).await?.map(|row| row.intent) {
            Some(Intent::Paused) => Some(Reservation::Full),
            // Another woke it meanwhile.
            Some(Intent::Running) => Some(Reservation::Made),
            Some(Intent::Starting | Intent::Ending) | None => None,
        })
    }

    /// Notes that a sandbox is to be ended. Safe twice.
    pub async fn intend_end(&self, sandbox: &SandboxId) -> Result<(), Error> {
        sqlx::query("UPDATE sandboxes SET intent = 'ending' WHERE sandbox_id = $1")
            .bind(sandbox.as_str())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("noting a kill"))?;
        Ok(())
    }

    /// Removes a sandbox that never became usable. Safe twice.
    pub async fn forget(&self, sandbox: &SandboxId) -> Result<(), Error> {
        sqlx::query("DELETE FROM sandboxes WHERE sandbox_id = $1")
            .bind(sandbox.as_str())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("forgetting a sandbox"))?;
        Ok(())
    }

    /// One sandbox, whatever is wanted of it.
    pub async fn sandbox(&self, sandbox: &SandboxId) -> Result<Option<Sandbox>, Error> {
        let row = sqlx::query("SELECT * FROM sandboxes WHERE sandbox_id = $1")
            .bind(sandbox.as_str())
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading a sandbox"))?;
        row.as_ref().map(read).transpose()
    }

    /// Every sandbox of a team that should run or sleep, in no particular order.
    pub async fn standing_of_team(&self, team_id: TeamId) -> Result<Vec<Sandbox>, Error> {
        let rows =
            sqlx::query("SELECT * FROM sandboxes WHERE team_id = $1 AND intent IN ('running', 'paused')")
                .bind(team_id.to_string())
                .fetch_all(&self.read)
                .await
                .map_err(Error::query("listing sandboxes"))?;
        rows.iter().map(read).collect()
    }

    /// How many sandboxes each team has that has any.
    pub async fn counts_by_team(&self) -> Result<Vec<(TeamId, u64)>, Error> {
        let rows = sqlx::query("SELECT team_id, COUNT(*) AS n FROM sandboxes GROUP BY team_id")
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("counting sandboxes"))?;
        rows.iter().map(|row| Ok((Columns(row).parsed("team_id")?, Columns(row).unsigned("n")?))).collect()
    }

    /// What is wanted of every sandbox, for reconciling.
    pub async fn intents(&self) -> Result<Vec<(SandboxId, Intent)>, Error> {
        let rows = sqlx::query("SELECT sandbox_id, intent FROM sandboxes")
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("listing intents"))?;
        rows.iter()
            .map(|row| Ok((Columns(row).parsed("sandbox_id")?, Columns(row).parsed("intent")?)))
            .collect()
    }
}

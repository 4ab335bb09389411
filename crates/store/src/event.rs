//! What happened to sandboxes. An event is written in the transaction that it
//! tells of, together with its deliveries: neither is there without the other.

use std::str::FromStr;

use model::{BuildId, KeyId, SandboxId, TeamId, TemplateId, Timestamp};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::row::{Columns, column};
use crate::writer::{Writer, Written as _};
use crate::{Error, Store};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It became usable for the first time.
    Created,
    /// It is gone.
    Killed,
    /// Its timeout was changed.
    Updated,
    /// It was paused.
    Paused,
    /// It goes on after a pause.
    Resumed,
    /// A snapshot of it was taken.
    Checkpointed,
}

impl EventKind {
    const ALL: [Self; 6] =
        [Self::Created, Self::Killed, Self::Updated, Self::Paused, Self::Resumed, Self::Checkpointed];

    /// Its name on every wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "sandbox.lifecycle.created",
            Self::Killed => "sandbox.lifecycle.killed",
            Self::Updated => "sandbox.lifecycle.updated",
            Self::Paused => "sandbox.lifecycle.paused",
            Self::Resumed => "sandbox.lifecycle.resumed",
            Self::Checkpointed => "sandbox.lifecycle.checkpointed",
        }
    }
}

impl FromStr for EventKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub event_id: KeyId,
    /// Whose sandbox it was.
    pub team_id: TeamId,
    /// Which sandbox.
    pub sandbox_id: SandboxId,
    /// What it is based on.
    pub template_id: TemplateId,
    /// What it started from.
    pub build_id: BuildId,
    /// Which run of it, from a start or resume to its end.
    pub execution_id: String,
    /// What happened.
    pub kind: EventKind,
    /// Facts about it, as JSON.
    pub data: Option<String>,
    /// When.
    pub happened_at: Timestamp,
}

/// Which events are wanted.
#[derive(Debug, Clone)]
pub struct EventQuery {
    /// Of one sandbox.
    pub sandbox_id: Option<SandboxId>,
    /// Of these kinds; of all without any.
    pub kinds: Vec<EventKind>,
    /// How many to pass over.
    pub offset: u64,
    /// How many at most.
    pub limit: u64,
    /// Whether the oldest come first.
    pub oldest_first: bool,
}

pub(crate) fn read(row: &AnyRow) -> Result<Event, Error> {
    let row = Columns(row);
    Ok(Event {
        event_id: row.parsed("event_id")?,
        team_id: row.parsed("team_id")?,
        sandbox_id: row.parsed("sandbox_id")?,
        template_id: row.parsed("template_id")?,
        build_id: row.parsed("build_id")?,
        execution_id: row.text("execution_id")?,
        kind: row.parsed("type")?,
        data: row.maybe_text("data")?,
        happened_at: row.moment("happened_at")?,
    })
}

/// Writes an event. The engine plans its deliveries in the same statement.
pub(crate) async fn insert(connection: &mut AnyConnection, event: &Event) -> Result<(), Error> {
    let written = with_columns(sqlx::query(INSERT), event).execute(connection).await;
    written.map(drop).map_err(Error::query("writing an event"))
}

/// The same, if no event of this type tells of that run yet. `false` if one does.
pub(crate) async fn insert_once(connection: &mut AnyConnection, event: &Event) -> Result<bool, Error> {
    let written = with_columns(sqlx::query(INSERT_ONCE), event).execute(connection).await;
    Ok(written.map_err(Error::query("writing an event"))?.rows_affected() == 1)
}

/// The same, if the sandbox is about to start; with that it has started, and its
/// template has counted it. `false` if it is not there or somebody wants it
/// ended meanwhile.
pub(crate) async fn insert_start(write: &Writer, event: &Event) -> Result<bool, Error> {
    let written = with_columns(sqlx::query(INSERT_START), event).execute_by(write).await;
    Ok(written.map_err(Error::query("noting a start"))?.rows_affected() == 1)
}

macro_rules! insert_into_events {
    ($rest:literal) => {
        concat!(
            "INSERT INTO events (event_id, team_id, sandbox_id, template_id, build_id, execution_id, type, \
             data, happened_at) ",
            $rest
        )
    };
}

const INSERT: &str = insert_into_events!("VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
const INSERT_ONCE: &str = insert_into_events!(
    "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
     WHERE NOT EXISTS (SELECT 1 FROM events WHERE sandbox_id = $3 AND execution_id = $6 AND type = $7)"
);
/// What follows from it stands in the migration `0050_starts.sql`.
const INSERT_START: &str = insert_into_events!(
    "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
     WHERE EXISTS (SELECT 1 FROM sandboxes WHERE sandbox_id = $3 AND intent = 'starting')"
);

fn with_columns<'q>(query: Statement<'q>, event: &Event) -> Statement<'q> {
    query
        .bind(event.event_id.to_string())
        .bind(event.team_id.to_string())
        .bind(event.sandbox_id.to_string())
        .bind(event.template_id.to_string())
        .bind(event.build_id.to_string())
        .bind(event.execution_id.clone())
        .bind(event.kind.as_str())
        .bind(event.data.clone())
        .bind(event.happened_at.unix_micros())
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

impl Store {
    /// Writes an event that goes with no other change.
    pub async fn add_event(&self, event: &Event) -> Result<(), Error> {
        let written = with_columns(sqlx::query(INSERT), event).execute_by(&self.write).await;
        written.map(drop).map_err(Error::query("writing an event"))
    }

    /// The events of a team.
    pub async fn events(&self, team_id: TeamId, query: &EventQuery) -> Result<Vec<Event>, Error> {
        let kinds: Vec<&str> = query.kinds.iter().map(|kind| kind.as_str()).collect();
        let kinds = format!(",{},", kinds.join(","));
        // An empty list asks for all; a type is looked for between its commas.
        let statement = if query.oldest_first {
            "SELECT * FROM events WHERE team_id = $1 AND ($2 IS NULL OR sandbox_id = $2) \
             AND ($3 = ',,' OR $3 LIKE '%,' || type || ',%') \
             ORDER BY happened_at, event_id LIMIT $4 OFFSET $5"
        } else {
            "SELECT * FROM events WHERE team_id = $1 AND ($2 IS NULL OR sandbox_id = $2) \
             AND ($3 = ',,' OR $3 LIKE '%,' || type || ',%') \
             ORDER BY happened_at DESC, event_id LIMIT $4 OFFSET $5"
        };
        let rows = sqlx::query(statement)
            .bind(team_id.to_string())
            .bind(query.sandbox_id.as_ref().map(|id| id.as_str().to_owned()))
            .bind(kinds)
            .bind(column(query.limit))
            .bind(column(query.offset))
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("listing events"))?;
        rows.iter().map(read).collect()
    }

    /// Drops the events before a moment with their deliveries; answers how many.
    pub async fn drop_events(&self, before: Timestamp) -> Result<u64, Error> {
        let dropped = sqlx::query("DELETE FROM events WHERE happened_at < $1")
            .bind(before.unix_micros())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("dropping old events"))?;
        Ok(dropped.rows_affected())
    }
}

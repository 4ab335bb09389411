//! Sandboxes that did exist: why and when each ended.

use model::{BuildId, EndCause, OomVictim, Peaks, SandboxId, TeamId, TemplateId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::row::{Columns, column};
use crate::writer::Written as _;
use crate::{Error, Event, Store, event};

/// What an ended sandbox leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which one.
    pub sandbox_id: SandboxId,
    /// Whose it was.
    pub team_id: TeamId,
    /// What it was based on.
    pub template_id: TemplateId,
    /// What it started from.
    pub build_id: BuildId,
    /// Why it ended.
    pub cause: EndCause,
    /// When it became usable; `None` if nobody knows.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The most it used.
    pub peaks: Peaks,
    /// Processes that the kernel ended for want of memory, as far as they are known.
    pub oom_victims: Vec<OomVictim>,
}

/// How a sandbox ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// Why.
    pub cause: EndCause,
    /// When it became usable; `None` if nobody knows.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The most it used.
    pub peaks: Peaks,
    /// Processes that the kernel ended for want of memory, as far as they are known.
    pub oom_victims: &'a [OomVictim],
}

/// A victim as its column has it.
#[derive(Debug, Serialize, Deserialize)]
struct VictimColumn {
    pid: u32,
    name: String,
    user: String,
    at: i64,
    itself: bool,
}

fn write_victims(victims: &[OomVictim]) -> Option<String> {
    let columns: Vec<_> = victims
        .iter()
        .map(|OomVictim { pid, name, user, at, itself }| VictimColumn {
            pid: *pid,
            name: name.clone(),
            user: user.clone(),
            at: at.unix_micros(),
            itself: *itself,
        })
        .collect();
    let json = || serde_json::to_string(&columns).expect("numbers and texts are always JSON");
    (!columns.is_empty()).then(json)
}

fn read_victims(json: &str) -> Result<Vec<OomVictim>, Error> {
    let columns: Vec<VictimColumn> = serde_json::from_str(json)
        .map_err(|_| Error::Corrupt { column: "oom_victims", text: json.chars().take(64).collect() })?;
    let victim = |VictimColumn { pid, name, user, at, itself }| OomVictim {
        pid,
        name,
        user,
        at: Timestamp::from_unix_micros(at),
        itself,
    };
    Ok(columns.into_iter().map(victim).collect())
}

impl Store {
    /// Moves a sandbox to its record, in one transaction with the event that
    /// tells of it. Safe twice: without a row, the record that is there stays.
    pub async fn end(
        &self,
        sandbox: &SandboxId,
        ending: Ending<'_>,
        event: Option<&Event>,
    ) -> Result<(), Error> {
        let Ending { cause, started_at, ended_at, peaks, oom_victims } = ending;
        let op = || Error::query("moving a sandbox to its record");
        let mut held = self.write.hold().await.map_err(op())?;
        let mut tx = held.begin().await.map_err(op())?;
        let made = sqlx::query(
            "INSERT INTO ended (sandbox_id, team_id, template_id, build_id, cause, started_at, ended_at, \
             peak_memory_bytes, peak_disk_bytes, cpu_micros, oom_kills, oom_victims) \
             SELECT sandbox_id, team_id, template_id, build_id, $2, $3, $4, $5, $6, $7, $8, $9 \
             FROM sandboxes WHERE sandbox_id = $1 ON CONFLICT (sandbox_id) DO NOTHING",
        )
        .bind(sandbox.as_str())
        .bind(cause.as_str())
        .bind(started_at.map(Timestamp::unix_micros))
        .bind(ended_at.unix_micros())
        .bind(column(peaks.memory.as_u64()))
        .bind(column(peaks.disk.as_u64()))
        .bind(column(peaks.cpu_micros))
        .bind(column(peaks.oom_kills))
        .bind(write_victims(oom_victims))
        .execute(&mut *tx)
        .await
        .map_err(op())?;
        if let Some(event) = event.filter(|_| made.rows_affected() == 1) {
            event::insert(&mut tx, event).await?;
        }
        sqlx::query("DELETE FROM sandboxes WHERE sandbox_id = $1")
            .bind(sandbox.as_str())
            .execute(&mut *tx)
            .await
            .map_err(op())?;
        tx.commit().await.map_err(op())
    }

    /// The record of an ended sandbox, while it is kept.
    pub async fn record(&self, sandbox: &SandboxId) -> Result<Option<Record>, Error> {
        let row = sqlx::query("SELECT * FROM ended WHERE sandbox_id = $1")
            .bind(sandbox.as_str())
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading a record"))?;
        row.map(|row| {
            let row = Columns(&row);
            Ok(Record {
                sandbox_id: row.parsed("sandbox_id")?,
                team_id: row.parsed("team_id")?,
                template_id: row.parsed("template_id")?,
                build_id: row.parsed("build_id")?,
                cause: row.parsed("cause")?,
                started_at: row.maybe_moment("started_at")?,
                ended_at: row.moment("ended_at")?,
                peaks: Peaks {
                    memory: row.size("peak_memory_bytes")?,
                    disk: row.size("peak_disk_bytes")?,
                    cpu_micros: row.unsigned("cpu_micros")?,
                    oom_kills: row.unsigned("oom_kills")?,
                },
                oom_victims: row
                    .maybe_text("oom_victims")?
                    .map_or_else(|| Ok(Vec::new()), |json| read_victims(&json))?,
            })
        })
        .transpose()
    }

    /// Drops the records of sandboxes that ended before a moment; answers how many.
    pub async fn drop_records(&self, before: Timestamp) -> Result<u64, Error> {
        let dropped = sqlx::query("DELETE FROM ended WHERE ended_at < $1")
            .bind(before.unix_micros())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("dropping old records"))?;
        Ok(dropped.rows_affected())
    }
}

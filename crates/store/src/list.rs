//! Sandboxes of a team in the order of their starts, a page at a time.

use model::{SandboxId, TeamId, TemplateId, Timestamp};
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::sandbox::{Sandbox, read};
use crate::writer::Written as _;
use crate::{Error, Store};

/// Which sandboxes of a team.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListFilter<'a> {
    /// Of this template alone.
    pub template: Option<&'a TemplateId>,
    /// Started at this moment or after it.
    pub started_after: Option<Timestamp>,
}

/// Where a page begins, and which way it goes.
#[derive(Debug, Clone, Copy)]
pub struct ListPlace<'a> {
    /// Newest first, ties by ascending id; else exactly the reverse.
    pub newest_first: bool,
    /// After the sandbox of this start and id.
    pub after: Option<(Timestamp, &'a SandboxId)>,
    /// At most so many.
    pub limit: u32,
}

/// A sandbox and its place in the order.
pub type Placed = (Timestamp, Sandbox);

impl Store {
    /// The next sandboxes that should run or sleep, read by index from their place on.
    pub async fn standing_from(
        &self,
        team_id: TeamId,
        which: ListFilter<'_>,
        place: ListPlace<'_>,
    ) -> Result<Vec<Placed>, Error> {
        // Ids ascend where starts descend: a row value cannot say that, so the
        // moment bounds the index and the pair decides within it.
        let (beyond, order) = if place.newest_first {
            ("(started_at < $4 OR sandbox_id > $5) AND started_at <= $4", "started_at DESC, sandbox_id")
        } else {
            ("(started_at > $4 OR sandbox_id < $5) AND started_at >= $4", "started_at, sandbox_id DESC")
        };
        let first = if place.newest_first { i64::MAX } else { i64::MIN };
        let (moment, id) =
            place.after.map_or((first, ""), |(moment, id)| (moment.unix_micros(), id.as_str()));
        let text = format!(
            "SELECT * FROM sandboxes WHERE team_id = $1 AND intent IN ('running', 'paused') AND started_at >= $2 \
             AND ($3 = '' OR template_id = $3) AND {beyond} ORDER BY {order} LIMIT $6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(team_id.to_string())
            .bind(which.started_after.map_or(i64::MIN, Timestamp::unix_micros))
            .bind(which.template.map_or("", |template| template.as_str()))
            .bind(moment)
            .bind(id)
            .bind(i64::from(place.limit))
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("listing sandboxes"))?;
        rows.iter().map(placed).collect()
    }

    /// How many of a team should run.
    pub async fn count_running(&self, team_id: TeamId, which: ListFilter<'_>) -> Result<u64, Error> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM sandboxes WHERE team_id = $1 AND intent = 'running' \
             AND started_at >= $2 AND ($3 = '' OR template_id = $3)",
        )
        .bind(team_id.to_string())
        .bind(which.started_after.map_or(i64::MIN, Timestamp::unix_micros))
        .bind(which.template.map_or("", |template| template.as_str()))
        .fetch_one(&self.read)
        .await
        .map_err(Error::query("counting sandboxes"))?;
        Columns(&row).unsigned("n")
    }

    /// Notes a new start of one that slept: its place in the order.
    pub async fn sandbox_woken(&self, sandbox: &SandboxId, started_at: Timestamp) -> Result<(), Error> {
        let noting = sqlx::query(
            "UPDATE sandboxes SET started_at = $2, \
             intent = CASE intent WHEN 'paused' THEN 'running' ELSE intent END \
             WHERE sandbox_id = $1 AND started_at <> $2",
        );
        noting
            .bind(sandbox.as_str())
            .bind(started_at.unix_micros())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("noting a resume"))?;
        Ok(())
    }
}

fn placed(row: &AnyRow) -> Result<Placed, Error> {
    Ok((Columns(row).moment("started_at")?, read(row)?))
}

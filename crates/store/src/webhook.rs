//! Who is told of events, and what is still to be told.

use std::sync::atomic::Ordering;

use model::{KeyId, TeamId, Timestamp};
use sqlx::any::AnyRow;

use crate::row::Columns;
use crate::writer::Written as _;
use crate::{Error, Event, EventKind, Store, event};

/// Somebody who is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub webhook_id: KeyId,
    /// Whose it is.
    pub team_id: TeamId,
    /// Its name for people.
    pub name: String,
    /// Where events are posted to.
    pub url: String,
    /// Whether it is told now.
    pub enabled: bool,
    /// Of which kinds of events it is told.
    pub events: Vec<EventKind>,
    /// What its messages are signed with.
    pub secret: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for Webhook {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("webhook_id", &self.webhook_id).finish_non_exhaustive()
    }
}

/// One message to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What it tells.
    pub event: Event,
    /// Whom.
    pub webhook: Webhook,
    /// How often it was tried.
    pub attempts: u64,
}

/// A message that has not been delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// What it tells.
    pub event: Event,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried again; `None` if never.
    pub due_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

fn read(row: &AnyRow) -> Result<Webhook, Error> {
    let row = Columns(row);
    let events = row.text("events")?;
    Ok(Webhook {
        webhook_id: row.parsed("webhook_id")?,
        team_id: row.parsed("team_id")?,
        name: row.text("name")?,
        url: row.text("url")?,
        enabled: row.flag("enabled")?,
        events: events.split(',').filter_map(|kind| kind.parse().ok()).collect(),
        secret: row.text("secret")?,
        created_at: row.moment("created_at")?,
    })
}

fn kinds(webhook: &Webhook) -> String {
    let kinds: Vec<&str> = webhook.events.iter().map(|kind| kind.as_str()).collect();
    format!(",{},", kinds.join(","))
}

impl Store {
    /// Whether events may have to be told to anybody. Where no webhook ever was,
    /// nothing is due, and nobody has to ask the database for it.
    pub fn may_have_deliveries(&self) -> bool {
        self.webhooks_seen.load(Ordering::Acquire)
    }

    pub(crate) async fn look_for_webhooks(&self) -> Result<(), Error> {
        let found = sqlx::query("SELECT 1 AS one FROM webhooks LIMIT 1")
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("looking for webhooks"))?;
        self.webhooks_seen.store(found.is_some(), Ordering::Release);
        Ok(())
    }

    /// Writes a webhook, new or changed.
    pub async fn put_webhook(&self, webhook: &Webhook) -> Result<(), Error> {
        // Before it is written: the next event may come right after.
        self.webhooks_seen.store(true, Ordering::Release);
        sqlx::query(
            "INSERT INTO webhooks (webhook_id, team_id, name, url, enabled, events, secret, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (webhook_id) DO UPDATE SET \
             name = $3, url = $4, enabled = $5, events = $6, secret = $7",
        )
        .bind(webhook.webhook_id.to_string())
        .bind(webhook.team_id.to_string())
        .bind(&webhook.name)
        .bind(&webhook.url)
        .bind(i64::from(webhook.enabled))
        .bind(kinds(webhook))
        .bind(&webhook.secret)
        .bind(webhook.created_at.unix_micros())
        .store_by(&self.write)
        .await
        .map_err(Error::query("writing a webhook"))?;
        Ok(())
    }

    /// The webhooks of a team, oldest first.
    pub async fn webhooks(&self, team_id: TeamId) -> Result<Vec<Webhook>, Error> {
        let rows = sqlx::query("SELECT * FROM webhooks WHERE team_id = $1 ORDER BY created_at, webhook_id")
            .bind(team_id.to_string())
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("listing webhooks"))?;
        rows.iter().map(read).collect()
    }

    /// Removes a webhook of a team and what it was still to be told; `false` if
    /// the team has no such one.
    pub async fn remove_webhook(&self, team_id: TeamId, webhook_id: KeyId) -> Result<bool, Error> {
        let removed = sqlx::query("DELETE FROM webhooks WHERE team_id = $1 AND webhook_id = $2")
            .bind(team_id.to_string())
            .bind(webhook_id.to_string())
            .store_by(&self.write)
            .await
            .map_err(Error::query("removing a webhook"))?;
        Ok(removed.rows_affected() == 1)
    }

    /// Some messages whose time has come, the most urgent first.
    pub async fn due_deliveries(&self, now: Timestamp, limit: i64) -> Result<Vec<Delivery>, Error> {
        let rows = sqlx::query(
            "SELECT events.*, webhooks.webhook_id, webhooks.name, webhooks.url, webhooks.enabled, \
             webhooks.events, webhooks.secret, webhooks.created_at, deliveries.attempts \
             FROM deliveries JOIN events USING (event_id) JOIN webhooks USING (webhook_id) \
             WHERE deliveries.due_at <= $1 ORDER BY deliveries.due_at LIMIT $2",
        )
        .bind(now.unix_micros())
        .bind(limit)
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("looking for deliveries"))?;
        let one = |row| {
            let attempts = Columns(row).unsigned("attempts")?;
            Ok(Delivery { event: event::read(row)?, webhook: read(row)?, attempts })
        };
        rows.iter().map(one).collect()
    }

    /// Notes that a message was delivered.
    pub async fn delivered(&self, delivery: &Delivery) -> Result<(), Error> {
        sqlx::query("DELETE FROM deliveries WHERE event_id = $1 AND webhook_id = $2")
            .bind(delivery.event.event_id.to_string())
            .bind(delivery.webhook.webhook_id.to_string())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("noting a delivery"))?;
        Ok(())
    }

    /// Notes a failed attempt, and when the next one is; without one, it stays
    /// as undeliverable.
    pub async fn not_delivered(
        &self,
        delivery: &Delivery,
        error: &str,
        due_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        sqlx::query(
            "UPDATE deliveries SET attempts = attempts + 1, error = $3, due_at = $4 \
             WHERE event_id = $1 AND webhook_id = $2",
        )
        .bind(delivery.event.event_id.to_string())
        .bind(delivery.webhook.webhook_id.to_string())
        .bind(error)
        .bind(due_at.map(Timestamp::unix_micros))
        .execute_by(&self.write)
        .await
        .map_err(Error::query("noting a failed delivery"))?;
        Ok(())
    }

    /// What a webhook was not told yet, or never will be; the newest first.
    pub async fn undelivered(&self, webhook_id: KeyId) -> Result<Vec<Undelivered>, Error> {
        let rows = sqlx::query(
            "SELECT events.*, deliveries.attempts, deliveries.due_at, deliveries.error FROM deliveries \
             JOIN events USING (event_id) WHERE deliveries.webhook_id = $1 \
             ORDER BY events.happened_at DESC, events.event_id LIMIT 100",
        )
        .bind(webhook_id.to_string())
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("listing deliveries"))?;
        let one = |row| {
            let columns = Columns(row);
            Ok(Undelivered {
                event: event::read(row)?,
                attempts: columns.unsigned("attempts")?,
                due_at: columns.maybe_moment("due_at")?,
                error: columns.maybe_text("error")?,
            })
        };
        rows.iter().map(one).collect()
    }
}

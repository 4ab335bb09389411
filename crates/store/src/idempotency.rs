//! Creates that must happen at most once: a key, and what it led to.

use model::{SandboxId, TeamId, Timestamp};

use crate::row::Columns;
use crate::writer::Written as _;
use crate::{Error, Store};

/// A key in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose key it is; keys of different teams never meet.
    pub team_id: TeamId,
    /// The key.
    pub key: String,
    /// Hash of the request that came with it.
    pub request_hash: String,
    /// The sandbox that the request led to, or is about to.
    pub sandbox_id: SandboxId,
    /// When it was first used.
    pub created_at: Timestamp,
}

impl Store {
    /// Takes a key into use; answers the earlier claim if there is one.
    pub async fn claim(&self, claim: &Claim) -> Result<Option<Claim>, Error> {
        let made = sqlx::query(
            "INSERT INTO idempotency (team_id, key, request_hash, sandbox_id, created_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (team_id, key) DO NOTHING",
        )
        .bind(claim.team_id.to_string())
        .bind(&claim.key)
        .bind(&claim.request_hash)
        .bind(claim.sandbox_id.as_str())
        .bind(claim.created_at.unix_micros())
        .execute_by(&self.write)
        .await
        .map_err(Error::query("claiming an idempotency key"))?;
        if made.rows_affected() == 1 {
            return Ok(None);
        }
        // By the writer's connection: what refused the row is seen for certain.
        let row = sqlx::query("SELECT * FROM idempotency WHERE team_id = $1 AND key = $2")
            .bind(claim.team_id.to_string())
            .bind(&claim.key)
            .fetch_optional_by(&self.write)
            .await
            .map_err(Error::query("reading an idempotency key"))?;
        row.map(|row| {
            let row = Columns(&row);
            Ok(Claim {
                team_id: claim.team_id,
                key: claim.key.clone(),
                request_hash: row.text("request_hash")?,
                sandbox_id: row.parsed("sandbox_id")?,
                created_at: row.moment("created_at")?,
            })
        })
        .transpose()
    }

    /// Gives a key back, if it still leads to this sandbox: nothing came of it.
    pub async fn release(&self, claim: &Claim) -> Result<(), Error> {
        sqlx::query("DELETE FROM idempotency WHERE team_id = $1 AND key = $2 AND sandbox_id = $3")
            .bind(claim.team_id.to_string())
            .bind(&claim.key)
            .bind(claim.sandbox_id.as_str())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("releasing an idempotency key"))?;
        Ok(())
    }

    /// Drops the claims made before a moment; answers how many.
    pub async fn drop_claims(&self, before: Timestamp) -> Result<u64, Error> {
        let dropped = sqlx::query("DELETE FROM idempotency WHERE created_at < $1")
            .bind(before.unix_micros())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("dropping old idempotency keys"))?;
        Ok(dropped.rows_affected())
    }
}

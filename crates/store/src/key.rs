//! API keys: kept as hashes, found by hash.

use model::{TeamId, Timestamp};

use crate::row::{Columns, column};
use crate::{Error, Store, Team, team};

/// SHA-256 of a key's secret bytes, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyHash(pub String);

/// Enough of a key to recognise it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMask {
    /// First characters of the value, after the kind prefix.
    pub prefix: String,
    /// Last characters of the value.
    pub suffix: String,
    /// Length of the value.
    pub value_length: u64,
}

/// One API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, a UUID.
    pub key_id: String,
    /// Whose key it is.
    pub team_id: TeamId,
    /// Its name for people.
    pub name: String,
    /// What it is found by.
    pub hash: KeyHash,
    /// What it is recognised by.
    pub mask: KeyMask,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl Store {
    /// Adds a key.
    pub async fn add_key(&self, key: &ApiKey) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO api_keys (key_id, team_id, name, hash, mask_prefix, mask_suffix, value_length, \
             created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&key.key_id)
        .bind(key.team_id.to_string())
        .bind(&key.name)
        .bind(&key.hash.0)
        .bind(&key.mask.prefix)
        .bind(&key.mask.suffix)
        .bind(column(key.mask.value_length))
        .bind(key.created_at.unix_micros())
        .bind(key.last_used_at.map(Timestamp::unix_micros))
        .execute(&self.write)
        .await
        .map_err(Error::query("adding an API key"))?;
        Ok(())
    }

    /// The team whose key has this hash, and the key's id.
    pub async fn team_of_key(&self, hash: &KeyHash) -> Result<Option<(Team, String)>, Error> {
        let row = sqlx::query(
            "SELECT teams.*, api_keys.key_id FROM api_keys JOIN teams USING (team_id) \
             WHERE api_keys.hash = $1",
        )
        .bind(&hash.0)
        .fetch_optional(&self.read)
        .await
        .map_err(Error::query("looking up an API key"))?;
        row.map(|row| Ok((team::read(&row)?, Columns(&row).text("key_id")?))).transpose()
    }

    /// Remembers that a key was used.
    pub async fn key_used(&self, key_id: &str, at: Timestamp) -> Result<(), Error> {
        sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE key_id = $2")
            .bind(at.unix_micros())
            .bind(key_id)
            .execute(&self.write)
            .await
            .map_err(Error::query("noting the use of an API key"))?;
        Ok(())
    }

    /// How many keys a team has.
    pub async fn count_keys(&self, team_id: TeamId) -> Result<u64, Error> {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM api_keys WHERE team_id = $1")
            .bind(team_id.to_string())
            .fetch_one(&self.read)
            .await
            .map_err(Error::query("counting API keys"))?;
        Columns(&row).unsigned("n")
    }
}

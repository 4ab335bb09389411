//! API keys: kept as hashes, found by hash.

use model::{KeyId, TeamId, Timestamp, UserId};
use sqlx::any::AnyRow;

use crate::row::{Columns, column};
use crate::writer::Written as _;
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
    /// Its id.
    pub key_id: KeyId,
    /// Whose key it is.
    pub team_id: TeamId,
    /// Its name for people.
    pub name: String,
    /// What it is found by.
    pub hash: KeyHash,
    /// What it is recognised by.
    pub mask: KeyMask,
    /// Who made it; nobody for the first one and for those of an operator.
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A key in a list, with its maker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub key: ApiKey,
    /// The address of the person who made it.
    pub created_by_email: Option<String>,
}

fn read(row: &AnyRow) -> Result<ListedKey, Error> {
    let row = Columns(row);
    Ok(ListedKey {
        key: ApiKey {
            key_id: row.parsed("key_id")?,
            team_id: row.parsed("team_id")?,
            name: row.text("name")?,
            hash: KeyHash(row.text("hash")?),
            mask: row.mask()?,
            created_by: row.maybe_parsed("created_by")?,
            created_at: row.moment("created_at")?,
            last_used_at: row.maybe_moment("last_used_at")?,
        },
        created_by_email: row.maybe_text("email")?,
    })
}

/// A statement over keys with the addresses of their makers.
macro_rules! listed {
    ($rest:literal) => {
        concat!(
            "SELECT api_keys.*, users.email FROM api_keys \
             LEFT JOIN users ON users.user_id = api_keys.created_by ",
            $rest
        )
    };
}

impl Store {
    /// Adds a key.
    pub async fn add_key(&self, key: &ApiKey) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO api_keys (key_id, team_id, name, hash, mask_prefix, mask_suffix, value_length, \
             created_by, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(key.key_id.to_string())
        .bind(key.team_id.to_string())
        .bind(&key.name)
        .bind(&key.hash.0)
        .bind(&key.mask.prefix)
        .bind(&key.mask.suffix)
        .bind(column(key.mask.value_length))
        .bind(key.created_by.map(|user| user.to_string()))
        .bind(key.created_at.unix_micros())
        .bind(key.last_used_at.map(Timestamp::unix_micros))
        .store_by(&self.write)
        .await
        .map_err(Error::query("adding an API key"))?;
        Ok(())
    }

    /// The team whose key has this hash, and the key's id.
    pub async fn team_of_key(&self, hash: &KeyHash) -> Result<Option<(Team, KeyId)>, Error> {
        let before = match self.keys.find(hash) {
            Ok(found) => return Ok(Some(found)),
            Err(before) => before,
        };
        let row = sqlx::query(
            "SELECT teams.*, api_keys.key_id FROM api_keys JOIN teams USING (team_id) \
             WHERE api_keys.hash = $1",
        )
        .bind(&hash.0)
        .fetch_optional(&self.read)
        .await
        .map_err(Error::query("looking up an API key"))?;
        let Some(row) = row else { return Ok(None) };
        let (team, key_id) = (team::read(&row)?, Columns(&row).parsed("key_id")?);
        self.keys.keep(before, hash.clone(), (team.clone(), key_id));
        Ok(Some((team, key_id)))
    }

    /// Remembers that a key was used.
    pub async fn key_used(&self, key_id: KeyId, at: Timestamp) -> Result<(), Error> {
        sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE key_id = $2")
            .bind(at.unix_micros())
            .bind(key_id.to_string())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("noting the use of an API key"))?;
        Ok(())
    }

    /// The keys of a team, oldest first.
    pub async fn keys_of(&self, team_id: TeamId) -> Result<Vec<ListedKey>, Error> {
        let rows = sqlx::query(listed!("WHERE api_keys.team_id = $1 ORDER BY api_keys.created_at, key_id"))
            .bind(team_id.to_string())
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("listing API keys"))?;
        rows.iter().map(read).collect()
    }

    /// Renames a key of a team; `None` if the team has no such key.
    pub async fn rename_key(
        &self,
        team_id: TeamId,
        key_id: KeyId,
        name: &str,
    ) -> Result<Option<ListedKey>, Error> {
        sqlx::query("UPDATE api_keys SET name = $3 WHERE team_id = $1 AND key_id = $2")
            .bind(team_id.to_string())
            .bind(key_id.to_string())
            .bind(name)
            .execute_by(&self.write)
            .await
            .map_err(Error::query("renaming an API key"))?;
        let row = sqlx::query(listed!("WHERE api_keys.team_id = $1 AND key_id = $2"))
            .bind(team_id.to_string())
            .bind(key_id.to_string())
            .fetch_optional_by(&self.write)
            .await
            .map_err(Error::query("reading an API key"))?;
        row.as_ref().map(read).transpose()
    }

    /// Revokes a key of a team: from now on it is nobody's. `false` if the team
    /// has no such key.
    pub async fn remove_key(&self, team_id: TeamId, key_id: KeyId) -> Result<bool, Error> {
        let _change = self.keys.changing();
        let removed = sqlx::query("DELETE FROM api_keys WHERE team_id = $1 AND key_id = $2")
            .bind(team_id.to_string())
            .bind(key_id.to_string())
            .store_by(&self.write)
            .await
            .map_err(Error::query("revoking an API key"))?;
        Ok(removed.rows_affected() == 1)
    }

    /// Revokes the oldest keys of one name that a person made for a team, all
    /// but the newest few.
    pub async fn keep_newest_keys(
        &self,
        team_id: TeamId,
        user_id: UserId,
        name: &str,
        few: u64,
    ) -> Result<(), Error> {
        let _change = self.keys.changing();
        sqlx::query(
            "DELETE FROM api_keys WHERE key_id IN (SELECT key_id FROM api_keys \
             WHERE team_id = $1 AND created_by = $2 AND name = $3 \
             ORDER BY created_at DESC, key_id LIMIT 1000 OFFSET $4)",
        )
        .bind(team_id.to_string())
        .bind(user_id.to_string())
        .bind(name)
        .bind(column(few))
        .store_by(&self.write)
        .await
        .map_err(Error::query("revoking old API keys"))?;
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

//! People: who may log in, to which teams each belongs, and their access tokens.

use model::{KeyId, TeamId, Timestamp, UserId};
use sqlx::any::AnyRow;

use crate::row::{Columns, column};
use crate::writer::Written as _;
use crate::{Error, KeyHash, KeyMask, Store, Team, team};

/// One person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub user_id: UserId,
    /// Their address, the name they go by.
    pub email: String,
    /// When they were added.
    pub created_at: Timestamp,
}

/// A token that a person logs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// Its id.
    pub token_id: KeyId,
    /// Whose it is.
    pub user_id: UserId,
    /// Its name for people.
    pub name: String,
    /// What it is found by.
    pub hash: KeyHash,
    /// What it is recognised by.
    pub mask: KeyMask,
    /// When it was made.
    pub created_at: Timestamp,
}

fn read(row: &AnyRow) -> Result<User, Error> {
    let row = Columns(row);
    Ok(User {
        user_id: row.parsed("user_id")?,
        email: row.text("email")?,
        created_at: row.moment("created_at")?,
    })
}

impl Store {
    /// Adds a person unless one with that address is there; answers who is.
    pub async fn ensure_user(&self, user: &User) -> Result<User, Error> {
        let row = sqlx::query(
            "INSERT INTO users (user_id, email, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (email) DO UPDATE SET email = users.email RETURNING *",
        )
        .bind(user.user_id.to_string())
        .bind(&user.email)
        .bind(user.created_at.unix_micros())
        .fetch_one_by(&self.write)
        .await
        .map_err(Error::query("adding a person"))?;
        self.write.write_back().await.map_err(Error::query("adding a person"))?;
        read(&row)
    }

    /// Everybody, by address.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        let rows = sqlx::query("SELECT * FROM users ORDER BY email LIMIT 10000")
            .fetch_all(&self.read)
            .await
            .map_err(Error::query("listing people"))?;
        rows.iter().map(read).collect()
    }

    /// One person.
    pub async fn user(&self, user_id: UserId) -> Result<Option<User>, Error> {
        let row = sqlx::query("SELECT * FROM users WHERE user_id = $1")
            .bind(user_id.to_string())
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading a person"))?;
        row.as_ref().map(read).transpose()
    }

    /// Lets a person into a team. Their first team becomes their default. Safe twice.
    pub async fn add_member(&self, team_id: TeamId, user_id: UserId) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO members (team_id, user_id, is_default) \
             SELECT $1, $2, CASE WHEN EXISTS (SELECT 1 FROM members WHERE user_id = $2) THEN 0 ELSE 1 END \
             WHERE 1 = 1 ON CONFLICT (user_id, team_id) DO NOTHING",
        )
        .bind(team_id.to_string())
        .bind(user_id.to_string())
        .store_by(&self.write)
        .await
        .map_err(Error::query("letting a person into a team"))?;
        Ok(())
    }

    /// The teams of a person, the default one first.
    pub async fn teams_of(&self, user_id: UserId) -> Result<Vec<Team>, Error> {
        let rows = sqlx::query(
            "SELECT teams.* FROM teams JOIN members USING (team_id) WHERE members.user_id = $1 \
             ORDER BY members.is_default DESC, teams.name, teams.team_id",
        )
        .bind(user_id.to_string())
        .fetch_all(&self.read)
        .await
        .map_err(Error::query("listing the teams of a person"))?;
        rows.iter().map(team::read).collect()
    }

    /// Adds a token.
    pub async fn add_token(&self, token: &AccessToken) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO access_tokens (token_id, user_id, name, hash, mask_prefix, mask_suffix, \
             value_length, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(token.token_id.to_string())
        .bind(token.user_id.to_string())
        .bind(&token.name)
        .bind(&token.hash.0)
        .bind(&token.mask.prefix)
        .bind(&token.mask.suffix)
        .bind(column(token.mask.value_length))
        .bind(token.created_at.unix_micros())
        .store_by(&self.write)
        .await
        .map_err(Error::query("adding an access token"))?;
        Ok(())
    }

    /// The person whose token has this hash.
    pub async fn user_of_token(&self, hash: &KeyHash) -> Result<Option<User>, Error> {
        let row = sqlx::query(
            "SELECT users.* FROM access_tokens JOIN users USING (user_id) WHERE access_tokens.hash = $1",
        )
        .bind(&hash.0)
        .fetch_optional(&self.read)
        .await
        .map_err(Error::query("looking up an access token"))?;
        row.as_ref().map(read).transpose()
    }

    /// How many tokens a person has.
    pub async fn count_tokens(&self, user_id: UserId) -> Result<u64, Error> {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM access_tokens WHERE user_id = $1")
            .bind(user_id.to_string())
            .fetch_one(&self.read)
            .await
            .map_err(Error::query("counting access tokens"))?;
        Columns(&row).unsigned("n")
    }

    /// Revokes a token of a person; `false` if they have no such token.
    pub async fn remove_token(&self, user_id: UserId, token_id: KeyId) -> Result<bool, Error> {
        let removed = sqlx::query("DELETE FROM access_tokens WHERE user_id = $1 AND token_id = $2")
            .bind(user_id.to_string())
            .bind(token_id.to_string())
            .store_by(&self.write)
            .await
            .map_err(Error::query("revoking an access token"))?;
        Ok(removed.rows_affected() == 1)
    }
}

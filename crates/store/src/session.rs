//! Sessions of web applications and the sandbox that each has.

use model::{SandboxId, SessionId, SessionKind, TeamId, Timestamp};

use crate::row::Columns;
use crate::writer::Written as _;
use crate::{Error, Store};

/// A session that has a sandbox, or had one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is; names of different teams never meet.
    pub team_id: TeamId,
    /// Its name.
    pub session_id: SessionId,
    /// Its sandbox.
    pub sandbox_id: SandboxId,
    /// What the sandbox is made from.
    pub kind: SessionKind,
    /// When the sandbox was asked for.
    pub created_at: Timestamp,
    /// When the session last called.
    pub last_activity: Timestamp,
}

impl Store {
    /// Gives a session its sandbox, in the place of the one it had.
    pub async fn put_session(&self, session: &Session) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO sessions (team_id, session_id, sandbox_id, kind, created_at, last_activity) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (team_id, session_id) DO UPDATE SET \
             sandbox_id = $3, kind = $4, created_at = $5, last_activity = $6",
        )
        .bind(session.team_id.to_string())
        .bind(session.session_id.as_str())
        .bind(session.sandbox_id.as_str())
        .bind(session.kind.as_str())
        .bind(session.created_at.unix_micros())
        .bind(session.last_activity.unix_micros())
        .execute_by(&self.write)
        .await
        .map_err(Error::query("writing a session"))?;
        Ok(())
    }

    /// A session, if it is known.
    pub async fn session(&self, team: TeamId, session: &SessionId) -> Result<Option<Session>, Error> {
        let row = sqlx::query("SELECT * FROM sessions WHERE team_id = $1 AND session_id = $2")
            .bind(team.to_string())
            .bind(session.as_str())
            .fetch_optional(&self.read)
            .await
            .map_err(Error::query("reading a session"))?;
        row.map(|row| {
            let row = Columns(&row);
            Ok(Session {
                team_id: team,
                session_id: session.clone(),
                sandbox_id: row.parsed("sandbox_id")?,
                kind: row.parsed("kind")?,
                created_at: row.moment("created_at")?,
                last_activity: row.moment("last_activity")?,
            })
        })
        .transpose()
    }

    /// Notes that a session called, if it still has that sandbox.
    pub async fn session_called(&self, session: &Session, at: Timestamp) -> Result<(), Error> {
        sqlx::query(
            "UPDATE sessions SET last_activity = $4 WHERE team_id = $1 AND session_id = $2 \
             AND sandbox_id = $3 AND last_activity < $4",
        )
        .bind(session.team_id.to_string())
        .bind(session.session_id.as_str())
        .bind(session.sandbox_id.as_str())
        .bind(at.unix_micros())
        .execute_by(&self.write)
        .await
        .map_err(Error::query("noting a session's call"))?;
        Ok(())
    }

    /// Forgets a session, if it still has that sandbox. Safe twice.
    pub async fn drop_session(&self, session: &Session) -> Result<(), Error> {
        sqlx::query("DELETE FROM sessions WHERE team_id = $1 AND session_id = $2 AND sandbox_id = $3")
            .bind(session.team_id.to_string())
            .bind(session.session_id.as_str())
            .bind(session.sandbox_id.as_str())
            .execute_by(&self.write)
            .await
            .map_err(Error::query("forgetting a session"))?;
        Ok(())
    }

    /// Drops sessions without a sandbox that last called before a moment; answers how many.
    pub async fn drop_sessions(&self, before: Timestamp) -> Result<u64, Error> {
        let dropped = sqlx::query(
            "DELETE FROM sessions WHERE last_activity < $1 \
             AND sandbox_id NOT IN (SELECT sandbox_id FROM sandboxes)",
        )
        .bind(before.unix_micros())
        .execute_by(&self.write)
        .await
        .map_err(Error::query("dropping old sessions"))?;
        Ok(dropped.rows_affected())
    }
}

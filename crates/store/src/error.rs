//! What can go wrong between a typed question and a typed answer.

use std::path::PathBuf;

/// What a failure means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The disk is full; nothing was changed.
    Exhausted,
    /// The database is busy or out of reach; nothing was changed.
    Unavailable,
    /// A mistake of ours, or a database that somebody else changed.
    Bug,
}

/// The store could not do what it was asked; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or made.
    #[error("opening the database {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer server has written it.
    #[error("the database has format {found}, newer than this server understands: use a newer one")]
    Newer {
        /// The newest format step found in it.
        found: i64,
    },
    /// Bringing it to the present format failed.
    #[error("migrating the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("{op} in the database")]
    Query {
        /// What was to be done, in words.
        op: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds what this server never writes.
    #[error("the database holds {text:?} as {column}")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// What it holds, cut.
        text: String,
    },
}

impl Error {
    /// Names the statement that failed; for `map_err`.
    pub(crate) fn query(op: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { op, source }
    }

    /// What the failure means for the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Query { source: sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed, .. } => {
                ErrorKind::Unavailable
            }
            Self::Query { source: sqlx::Error::Database(error), .. } => match error.code().as_deref() {
                // SQLITE_FULL, and SQLITE_IOERR_WRITE as some file systems report the same.
                Some("13" | "778") => ErrorKind::Exhausted,
                // SQLITE_BUSY and SQLITE_LOCKED.
                Some("5" | "6") => ErrorKind::Unavailable,
                _ => ErrorKind::Bug,
            },
            _ => ErrorKind::Bug,
        }
    }
}

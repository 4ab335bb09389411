//! The one connection that writes.
//!
//! `SQLite` allows one writer at a time: here they queue, in order, instead of
//! failing as busy there. A pool of one would do the same, but asks its connection
//! whether it lives each time that it comes back, in a task of its own: two more
//! changes of threads for each statement. This one is asked after an error and after
//! a transaction only, and replaced if it does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::any::{Any, AnyArguments, AnyQueryResult, AnyRow};
use sqlx::query::Query;
use sqlx::{AnyConnection, Connection as _, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::engine::{ACQUIRE_LIMIT, configure};

/// Cheap to clone; all clones share the connection. Dropping a statement's future
/// leaves the statement to its end; the next one comes after it.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    url: Arc<str>,
    /// `None` once it is closed, and while a broken one is replaced.
    held: Arc<Mutex<Option<AnyConnection>>>,
    /// Something failed, which may have been the connection itself; or there was a
    /// transaction, whose end may have failed.
    is_suspect: Arc<AtomicBool>,
}

/// The connection, for several statements that belong together.
#[derive(Debug)]
pub(crate) struct Held {
    connection: OwnedMutexGuard<Option<AnyConnection>>,
    is_suspect: Arc<AtomicBool>,
}

impl Writer {
    /// Connects to a database that exists.
    pub(crate) async fn open(url: &str) -> Result<Self, sqlx::Error> {
        let held = Arc::new(Mutex::new(Some(connect(url).await?)));
        Ok(Self { url: url.into(), held, is_suspect: Arc::default() })
    }

    /// Waits for its turn.
    pub(crate) async fn hold(&self) -> Result<Held, sqlx::Error> {
        let turn = tokio::time::timeout(ACQUIRE_LIMIT, Arc::clone(&self.held).lock_owned());
        let mut connection = turn.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let open = connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        if self.is_suspect.swap(false, Ordering::AcqRel) && !is_sound(open).await {
            tracing::warn!("the connection to the database broke; making another one");
            let replaced = connect(&self.url).await;
            *open = replaced.inspect_err(|_| self.is_suspect.store(true, Ordering::Release))?;
        }
        Ok(Held { connection, is_suspect: Arc::clone(&self.is_suspect) })
    }

    /// Waits for what is under way, and lets nothing more be written.
    pub(crate) async fn close(&self) {
        let connection = self.held.lock().await.take();
        if let Some(Err(error)) = match connection {
            Some(connection) => Some(connection.close().await),
            None => None,
        } {
            tracing::warn!(%error, "closing the database");
        }
    }
}

/// Whether the connection answers. On a full disk the end of a transaction can fail, and
/// the taking back of it too; whatever was written in one that stays open would be seen
/// by nobody, and lost with the server.
async fn is_sound(connection: &mut AnyConnection) -> bool {
    match sqlx::query("ROLLBACK").execute(connection).await {
        Ok(_) => tracing::warn!("a transaction of the database was still open, and is taken back"),
        // As it should be: there is none.
        Err(sqlx::Error::Database(_)) => {}
        Err(_) => return false,
    }
    true
}

async fn connect(url: &str) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnection::connect(url).await?;
    configure(&mut connection).await?;
    Ok(connection)
}

impl Held {
    /// Begins a transaction; dropping it takes everything back.
    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_, Any>, sqlx::Error> {
        let is_suspect = &self.is_suspect;
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        is_suspect.store(true, Ordering::Release);
        connection.begin().await
    }

    /// The connection itself.
    pub(crate) fn connection(&mut self) -> Result<&mut AnyConnection, sqlx::Error> {
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Passes a result on; after a failure the connection is asked whether it lives.
    fn noted<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        result.inspect_err(|_| self.is_suspect.store(true, Ordering::Release))
    }
}

/// A statement by itself, which is a transaction, on the one connection that writes.
pub(crate) trait Written {
    /// Changes something; tells how much.
    async fn execute_by(self, writer: &Writer) -> Result<AnyQueryResult, sqlx::Error>;

    /// The same with the one row that comes of it.
    async fn fetch_one_by(self, writer: &Writer) -> Result<AnyRow, sqlx::Error>;

    /// The same with a row, if one comes of it.
    async fn fetch_optional_by(self, writer: &Writer) -> Result<Option<AnyRow>, sqlx::Error>;
}

impl Written for Query<'_, Any, AnyArguments> {
    async fn execute_by(self, writer: &Writer) -> Result<AnyQueryResult, sqlx::Error> {
        let mut held = writer.hold().await?;
        let done = self.execute(held.connection()?).await;
        held.noted(done)
    }

    async fn fetch_one_by(self, writer: &Writer) -> Result<AnyRow, sqlx::Error> {
        self.fetch_optional_by(writer).await?.ok_or(sqlx::Error::RowNotFound)
    }

    async fn fetch_optional_by(self, writer: &Writer) -> Result<Option<AnyRow>, sqlx::Error> {
        let mut held = writer.hold().await?;
        let row = self.fetch_optional(held.connection()?).await;
        held.noted(row)
    }
}

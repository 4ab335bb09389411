//! The one connection that writes.
//!
//! `SQLite` allows one writer at a time: here they queue, in order, instead of
//! failing as busy there. A pool of one would do the same, but asks its connection
//! whether it lives each time that it comes back, in a task of its own: two more
//! changes of threads for each statement. This one is asked only after an error or a
//! transaction that was not committed, and replaced if it does not answer.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::any::{Any, AnyArguments, AnyQueryResult, AnyRow};
use sqlx::query::Query;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long a statement waits for a connection before it fails as unavailable.
pub(crate) const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// A commit survives the death of this process at once, and a loss of power when it
/// is written back: [`Writer::write_back`], or some seconds later.
///
/// Cheap to clone; all clones share the connection. Dropping a statement's future
/// leaves the statement to its end; the next one comes after it.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    url: Arc<str>,
    /// The write-ahead log.
    log: Arc<Path>,
    /// `None` once it is closed, and while a broken one is replaced.
    held: Arc<Mutex<Option<AnyConnection>>>,
    /// Something failed, which may have been the connection itself; or a transaction
    /// was not committed, and taking it back may have failed.
    is_suspect: Arc<AtomicBool>,
}

/// The connection, for several statements that belong together.
#[derive(Debug)]
pub(crate) struct Held {
    connection: OwnedMutexGuard<Option<AnyConnection>>,
    is_suspect: Arc<AtomicBool>,
}

/// Several statements that come true together, or not at all: dropping it takes
/// everything back.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    statements: sqlx::Transaction<'a, Any>,
    is_suspect: &'a AtomicBool,
}

impl Writer {
    /// Connects to a database that exists.
    pub(crate) async fn open(path: &Path, url: &str) -> Result<Self, sqlx::Error> {
        let held = Arc::new(Mutex::new(Some(connect(url).await?)));
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self { url: url.into(), log: Path::new(&log).into(), held, is_suspect: Arc::default() })
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

    /// Answers when all that is committed outlives a loss of power. For what a client was
    /// promised to find again; of sandboxes that run, nothing would be left to find.
    pub(crate) async fn write_back(&self) -> Result<(), sqlx::Error> {
        let log = Arc::clone(&self.log);
        // The log only: what is not in it any more was written back when it was taken over.
        let written = move || match std::fs::File::open(&*log) {
            // A file system that cannot share memory has none, and writes back at each commit.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            log => log?.sync_data(),
        };
        let done = tokio::task::spawn_blocking(written).await;
        Ok(done.unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into()))?)
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

/// With `synchronous = NORMAL` a commit survives the death of the server; one
/// made in the last moments before a power cut may be lost, but so are running
/// sandboxes. Waiting for the disk would cost each create several times its own
/// length: who speaks of what stays says [`Writer::write_back`].
pub(crate) async fn configure(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    connection
        .execute(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
             PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;",
        )
        .await?;
    connection.ping().await
}

impl Held {
    /// Begins a transaction.
    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_>, sqlx::Error> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        self.is_suspect.store(true, Ordering::Release);
        let statements = connection.begin().await?;
        Ok(Transaction { statements, is_suspect: &self.is_suspect })
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

impl Transaction<'_> {
    /// Makes all of it true.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.statements.commit().await?;
        self.is_suspect.store(false, Ordering::Release);
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.statements
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.statements
    }
}

/// A statement by itself, which is a transaction, on the one connection that writes.
pub(crate) trait Written: Sized {
    /// Changes something; tells how much.
    async fn execute_by(self, writer: &Writer) -> Result<AnyQueryResult, sqlx::Error>;

    /// The same, and it outlives a loss of power.
    async fn store_by(self, writer: &Writer) -> Result<AnyQueryResult, sqlx::Error> {
        let done = self.execute_by(writer).await?;
        writer.write_back().await?;
        Ok(done)
    }

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
        // Of a statement that is left after its first row nobody hears whether it could
        // be committed: it is taken to its end.
        let rows = self.fetch_all(held.connection()?).await;
        Ok(held.noted(rows)?.into_iter().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn writer(dir: &tempfile::TempDir) -> (Writer, String) {
        sqlx::any::install_default_drivers();
        let path = dir.path().join("test.db");
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let writer = Writer::open(&path, &url).await.unwrap();
        sqlx::query("CREATE TABLE seen (n INTEGER)").execute_by(&writer).await.unwrap();
        (writer, url)
    }

    async fn seen(url: &str) -> i64 {
        let mut reader = connect(url).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM seen").fetch_one(&mut reader).await.unwrap()
    }

    async fn see(writer: &Writer) {
        sqlx::query("INSERT INTO seen VALUES (1)").execute_by(writer).await.unwrap();
    }

    #[tokio::test]
    async fn what_follows_a_transaction_that_stayed_open_is_seen_by_readers() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, url) = writer(&dir).await;
        let mut held = writer.hold().await.unwrap();
        let mut open = held.begin().await.unwrap();
        open.execute("INSERT INTO seen VALUES (2)").await.unwrap();
        // As where its end and the taking back of it have both failed.
        std::mem::forget(open);
        drop(held);
        see(&writer).await;
        assert_eq!(seen(&url).await, 1);
    }

    #[tokio::test]
    async fn only_what_was_not_committed_makes_the_connection_suspect() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, url) = writer(&dir).await;
        for commits in [true, false] {
            let mut held = writer.hold().await.unwrap();
            let mut transaction = held.begin().await.unwrap();
            transaction.execute("INSERT INTO seen VALUES (3)").await.unwrap();
            if commits {
                transaction.commit().await.unwrap();
            } else {
                drop(transaction);
            }
            assert_eq!(writer.is_suspect.load(Ordering::Acquire), !commits);
        }
        see(&writer).await;
        assert_eq!(seen(&url).await, 2);
    }
}

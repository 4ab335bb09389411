//! Opening the database: one writer, a few readers, the newest format.
//!
//! With a write-ahead log, readers never wait for the writer.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::KeyId;
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use crate::known::Known;
use crate::template::Asked;
use crate::writer::{ACQUIRE_LIMIT, Writer, configure};
use crate::{Build, Error, KeyHash, Resolved, Team};

/// Readers at a time; more of them would only wait for the same two disks.
const READERS: u32 = 4;

/// The database. Cheap to clone; all clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) write: Writer,
    pub(crate) read: AnyPool,
    pub(crate) keys: Known<KeyHash, (Team, KeyId)>,
    pub(crate) names: Known<Asked, (Resolved, Option<Build>)>,
    /// Whether a webhook was ever seen by this process, which alone writes them.
    pub(crate) webhooks_seen: Arc<AtomicBool>,
}

impl Store {
    /// Opens the `SQLite` database in this file, which is made (readable by its
    /// owner alone) if need be, and brings it to the present format.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        sqlx::any::install_default_drivers();
        let path = std::path::absolute(path).map_err(|e| failed(e.into()))?;
        ensure_private_file(&path).map_err(|e| failed(e.into()))?;
        let url = url(&path).ok_or_else(|| failed("the path is not UTF-8".into()))?;
        let write = Writer::open(&path, &url).await.map_err(|e| failed(e.into()))?;
        migrate(&write).await?;
        let read = pool(READERS).connect(&url).await.map_err(|e| failed(e.into()))?;
        let store = Self {
            write,
            read,
            keys: Known::default(),
            names: Known::default(),
            webhooks_seen: Arc::default(),
        };
        // The names of the database's files, which are made when it is first opened.
        let names = std::fs::File::open(path.parent().unwrap_or(&path)).and_then(|dir| dir.sync_all());
        if let Err(error) = names {
            tracing::warn!(%error, "the names of the database's files are not written back at once");
        }
        store.look_for_webhooks().await?;
        Ok(store)
    }

    /// Waits for statements under way, writes the log back and closes.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

/// The log and shared-memory files beside it inherit the mode.
fn ensure_private_file(path: &Path) -> std::io::Result<()> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

fn url(path: &Path) -> Option<String> {
    let text = path.to_str()?.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    Some(format!("sqlite://{text}?mode=rw"))
}

fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_LIMIT)
        .idle_timeout(None)
        .max_lifetime(None)
        // A local file does not go away between two statements.
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(configure(connection)))
}

async fn migrate(write: &Writer) -> Result<(), Error> {
    let mut held = write.hold().await.map_err(Error::query("migrating"))?;
    let connection = held.connection().map_err(Error::query("migrating"))?;
    sqlx::migrate!().run(connection).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(found) => Error::Newer { found },
        other => Error::Migrate(other),
    })
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

    use super::*;

    #[tokio::test]
    async fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("warren.db");
        let store = Store::open(&path).await.unwrap();
        let mut held = store.write.hold().await.unwrap();
        held.connection()
            .unwrap()
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', 1, x'00', 0)",
            )
            .await
            .unwrap();
        drop(held);
        store.close().await;
        let error = Store::open(&path).await.unwrap_err();
        assert!(matches!(error, Error::Newer { found: 9999 }), "{error:?}");
    }

    /// What the first format could hold, in its columns.
    const CONTENT: &str = "\
        INSERT INTO teams (team_id, name, slug, is_default, created_at) \
        VALUES ('00000000-0000-0000-0000-000000000001', 'default', 'default', 1, 1); \
        INSERT INTO templates (template_id, public, spawn_count, created_at, updated_at) \
        VALUES ('base0000000000000001', 1, 7, 1, 1); \
        INSERT INTO aliases VALUES ('', 'base', 'base0000000000000001', 0); \
        INSERT INTO builds (build_id, template_id, status, cpu_count, memory_bytes, disk_bytes, envd_version, \
        created_at) VALUES ('00000000-0000-0000-0000-000000000002', 'base0000000000000001', 'ready', 1, 1, 1, \
        '0.6.4', 1); \
        INSERT INTO tags VALUES ('base0000000000000001', 'default', '00000000-0000-0000-0000-000000000002', 1); \
        INSERT INTO sandboxes (sandbox_id, team_id, template_id, build_id, cpu_count, memory_bytes, disk_bytes, \
        secured, intent, created_at) VALUES ('i1', '00000000-0000-0000-0000-000000000001', \
        'base0000000000000001', '00000000-0000-0000-0000-000000000002', 1, 1, 1, 1, 'running', 5);";

    #[tokio::test]
    async fn every_earlier_format_becomes_the_present_one_with_all_it_holds() {
        sqlx::any::install_default_drivers();
        let all = sqlx::migrate!();
        for n in 1..all.migrations.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("warren.db");
            ensure_private_file(&path).unwrap();
            let earlier = pool(1).connect(&url(&path).unwrap()).await.unwrap();
            let mut migrator = sqlx::migrate!();
            migrator.migrations = all.migrations[..n].to_vec().into();
            migrator.run(&earlier).await.unwrap();
            earlier.execute(CONTENT).await.unwrap();
            earlier.close().await;

            let store = Store::open(&path).await.unwrap();
            let team = store.default_team().await.unwrap().unwrap();
            let standing = store.standing_of_team(team.team_id).await.unwrap();
            assert_eq!(standing.len(), 1, "after {n} migrations");
            assert_eq!((standing[0].sandbox_id.as_str(), standing[0].secured), ("i1", true));
            let found = store.resolve_build(None, "base", "default", "default").await.unwrap();
            let (resolved, build) = found.unwrap();
            assert_eq!(resolved.template.spawn_count, 7);
            assert_eq!(build.unwrap().build_id, standing[0].build_id);
        }
    }

    #[tokio::test]
    async fn opens_twice_under_an_awkward_name_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b%20?#ü.db");
        Store::open(&path).await.unwrap().close().await;
        Store::open(&path).await.unwrap().close().await;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

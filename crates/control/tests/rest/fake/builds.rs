//! What builds templates: nothing is built, the tests say how builds end.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use model::{BuildId, ByteSize, TeamId};
use node::Error;
use node::build::{
    BuildFailure, BuildOrder, BuildProgress, CacheEntry, CachedStep, Collected, Damaged, FilesHash, LogEntry,
    LogLevel, LogPage, UploadError, Verified,
};
use warren_control::{BoxFuture, BuildPort, Upload};

/// Keeps what it was told to build.
#[derive(Debug, Default)]
pub(crate) struct FakeBuilds {
    orders: Mutex<Vec<BuildOrder>>,
    progress: Mutex<HashMap<BuildId, BuildProgress>>,
    files: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) forgotten: Mutex<Vec<BuildId>>,
}

impl FakeBuilds {
    pub(crate) fn last_order(&self) -> BuildOrder {
        self.orders.lock().unwrap().last().unwrap().clone()
    }

    /// The build of the last order ends so.
    pub(crate) fn end(&self, progress: BuildProgress) {
        let build = self.last_order().build_id;
        self.progress.lock().unwrap().insert(build, progress);
    }

    /// The node forgets everything.
    pub(crate) fn lose(&self) {
        self.progress.lock().unwrap().clear();
    }
}

impl BuildPort for FakeBuilds {
    fn start(&self, order: BuildOrder) -> BoxFuture<'_, Result<(), Error>> {
        self.progress.lock().unwrap().insert(order.build_id, BuildProgress::Building);
        self.orders.lock().unwrap().push(order);
        Box::pin(std::future::ready(Ok(())))
    }

    fn progress(&self, build: BuildId) -> BoxFuture<'_, Option<BuildProgress>> {
        Box::pin(std::future::ready(self.progress.lock().unwrap().get(&build).cloned()))
    }

    /// 150 lines, every tenth a warning of step 1.
    fn log(&self, _: BuildId, page: LogPage) -> BoxFuture<'_, Result<Vec<LogEntry>, Error>> {
        let entry = |n: i64| LogEntry {
            at: 1_795_255_200_000_000 + n,
            level: if n % 10 == 0 { LogLevel::Warn } else { LogLevel::Info },
            message: format!("line {n}"),
            step: Some("1".to_owned()),
        };
        let all = (0..150).map(entry).filter(|entry| entry.level >= page.level);
        let entries = all.skip(page.offset).take(page.limit).collect();
        Box::pin(std::future::ready(Ok(entries)))
    }

    fn forget(&self, build: BuildId) -> BoxFuture<'_, Result<(), Error>> {
        self.forgotten.lock().unwrap().push(build);
        Box::pin(std::future::ready(Ok(())))
    }

    fn cancel(&self, build: BuildId) -> bool {
        let failure = BuildFailure { step: String::new(), message: "The build was canceled".to_owned() };
        self.progress.lock().unwrap().insert(build, BuildProgress::Failed(failure)).is_some()
    }

    fn steps(&self, team: TeamId) -> BoxFuture<'_, Result<Vec<CachedStep>, Error>> {
        let entry = CacheEntry {
            key: "k1".to_owned(),
            layer: "l1".to_owned(),
            team_id: team.to_string(),
            title: "RUN ls".to_owned(),
            made_at: 1_795_255_200_000_000,
            used_at: 1_795_255_201_000_000,
            on: None,
        };
        let step = CachedStep { entry, size: ByteSize::mib(1), in_use: true };
        Box::pin(std::future::ready(Ok(vec![step])))
    }

    fn forget_step<'a>(&'a self, _: TeamId, key: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(std::future::ready(Ok(key == "k1")))
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, Error>> {
        let damaged = vec![Damaged { layer: "l1".to_owned(), why: "it is missing".to_owned() }];
        Box::pin(std::future::ready(Ok(Verified { layers: 4, size: ByteSize::mib(5), damaged })))
    }

    fn collect(&self, _: TeamId, unused_for: Duration) -> BoxFuture<'_, Result<Collected, Error>> {
        let layers = usize::try_from(unused_for.as_secs() / 3600).unwrap();
        Box::pin(std::future::ready(Ok(Collected { layers, size: ByteSize::mib(3), removing: layers + 1 })))
    }

    fn has_files<'a>(&'a self, _: TeamId, hash: &'a FilesHash) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(self.files.lock().unwrap().contains_key(hash.as_str())))
    }

    fn receive_files<'a>(
        &'a self,
        _: TeamId,
        hash: &'a FilesHash,
        expected: Option<u64>,
        content: Upload,
    ) -> BoxFuture<'a, Result<(), UploadError>> {
        Box::pin(async move {
            let pieces: Vec<_> = content.try_collect().await.map_err(UploadError::Broken)?;
            let bytes = pieces.concat();
            let got = bytes.len() as u64;
            if let Some(expected) = expected.filter(|expected| *expected != got) {
                return Err(UploadError::Short { got, expected });
            }
            self.files.lock().unwrap().insert(hash.as_str().to_owned(), bytes);
            Ok(())
        })
    }
}

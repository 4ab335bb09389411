//! Many small files that are only added to, bounded in size: one pair per name.
//!
//! Bytes are appended to `<name>.0`; when that is full it becomes `<name>.1`, in
//! the place of the one before, so a flood keeps its newest part. One thread of
//! its own reads and writes: whoever appends never waits for the disk, and a
//! reader sees everything that was appended before it asked.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use model::Timestamp;
use tokio::sync::{mpsc, oneshot};

/// Appends that wait for the thread. Beyond that they are dropped and counted:
/// what is kept here is not worth holding up a create.
const QUEUE: usize = 4096;
/// Files beyond this are swept, oldest first, whatever their age.
const MOST_FILES: usize = 200_000;

enum Order {
    Append(String, Vec<u8>),
    Read(String, oneshot::Sender<Vec<u8>>),
    Sweep(SystemTime, oneshot::Sender<u64>),
}

/// A directory of them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    orders: mpsc::Sender<Order>,
    dropped: Arc<AtomicU64>,
}

impl Files {
    /// Opens the directory, which is made if need be, and starts the thread; it
    /// ends when the last clone is dropped and everything is written.
    pub(crate) fn open(dir: &Path, full: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let (orders, mut incoming) = mpsc::channel(QUEUE);
        let keeper = Keeper { dir: dir.to_owned(), full };
        std::thread::Builder::new().name("files".to_owned()).spawn(move || {
            while let Some(order) = incoming.blocking_recv() {
                keeper.carry_out(order);
            }
        })?;
        Ok(Self { orders, dropped: Arc::default() })
    }

    /// Adds bytes under a name, in the order of the calls; all of them or none.
    pub(crate) fn append(&self, name: &str, bytes: Vec<u8>) {
        if self.orders.try_send(Order::Append(name.to_owned(), bytes)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many appends were dropped because the disk did not keep up.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Everything that is kept under a name.
    pub(crate) async fn read(&self, name: &str) -> Vec<u8> {
        self.ask(|reply| Order::Read(name.to_owned(), reply)).await.unwrap_or_default()
    }

    /// Drops what was not added to since a moment; answers how many files.
    pub(crate) async fn sweep(&self, before: Timestamp) -> u64 {
        let micros = u64::try_from(before.unix_micros()).unwrap_or(0);
        let before = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        self.ask(|reply| Order::Sweep(before, reply)).await.unwrap_or(0)
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.ok()?;
        answer.await.ok()
    }
}

struct Keeper {
    dir: PathBuf,
    full: u64,
}

impl Keeper {
    fn carry_out(&self, order: Order) {
        match order {
            Order::Append(name, bytes) => {
                // A full disk costs what came while it was, not the server; it is told elsewhere.
                let _ = self.append(&name, &bytes);
            }
            // Who asked may have gone.
            Order::Read(name, reply) => drop(reply.send(self.read(&name))),
            Order::Sweep(before, reply) => drop(reply.send(self.sweep(before).unwrap_or(0))),
        }
    }

    fn path(&self, name: &str, part: u8) -> PathBuf {
        self.dir.join(format!("{name}.{part}"))
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name, 0);
        let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let mut file = open()?;
        if file.metadata()?.len() > self.full {
            fs::rename(&path, self.path(name, 1))?;
            file = open()?;
        }
        let before = file.metadata()?.len();
        file.write_all(bytes).or_else(|error| {
            // Half an append would shift whatever comes after it.
            file.set_len(before)?;
            Err(error)
        })
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let parts = [1, 0].map(|part| fs::read(self.path(name, part)).unwrap_or_default());
        parts.concat()
    }

    fn sweep(&self, before: SystemTime) -> io::Result<u64> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort_unstable();
        let surplus = files.len().saturating_sub(MOST_FILES);
        let mut swept = 0;
        for (n, (modified, path)) in files.iter().enumerate() {
            if n >= surplus && *modified >= before {
                break;
            }
            fs::remove_file(path)?;
            swept += 1;
        }
        Ok(swept)
    }
}

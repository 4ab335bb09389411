//! What sandboxes had to tell: lines in a pair of files per sandbox, the newest
//! two megabytes of them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use model::{SandboxId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::Files;

/// Size at which a file is full; a sandbox has two.
const FULL: u64 = 1 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, in microseconds since 1970.
    #[serde(rename = "t")]
    pub at_micros: i64,
    /// `debug`, `info`, `warn` or `error`.
    #[serde(rename = "l")]
    pub level: String,
    /// Who tells it.
    #[serde(rename = "g")]
    pub logger: String,
    /// What happened.
    #[serde(rename = "m")]
    pub message: String,
    /// Facts about it.
    #[serde(rename = "f", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Where it came from in the journal of the daemon inside.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// A place in the journal of a daemon inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Which daemon.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Which entry.
    #[serde(rename = "n")]
    pub number: u64,
}

/// All logs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Logs(Files);

impl Logs {
    /// Opens the directory, which is made if need be.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Files::open(dir, FULL).map(Self)
    }

    /// Adds lines to a sandbox's log, in the order of the calls. Never waits;
    /// where the disk does not keep up, lines are dropped and counted.
    pub fn append(&self, sandbox: &SandboxId, lines: &[LogLine]) {
        let mut text = Vec::new();
        for line in lines {
            // Texts and numbers are always JSON; one that were not would be no line.
            if serde_json::to_writer(&mut text, line).is_ok() {
                text.push(b'\n');
            }
        }
        self.0.append(sandbox.as_str(), text);
    }

    /// How many appends were dropped.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Every line that is kept of a sandbox, oldest first. One that a crash cut
    /// off is passed over.
    pub async fn read(&self, sandbox: &SandboxId) -> Vec<LogLine> {
        let text = self.0.read(sandbox.as_str()).await;
        text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Drops the logs to which nothing was added since a moment; answers how many files.
    pub async fn sweep(&self, before: Timestamp) -> u64 {
        self.0.sweep(before).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: i64) -> LogLine {
        LogLine {
            at_micros: n,
            level: "info".to_owned(),
            logger: "test".to_owned(),
            message: format!("line {n}\nand more"),
            fields: BTreeMap::new(),
            source: Some(Source { epoch: 1, number: 2 }),
        }
    }

    #[tokio::test]
    async fn lines_come_back_in_order_and_a_flood_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, id) = (Logs::open(dir.path()).unwrap(), "i1".parse().unwrap());
        assert_eq!(logs.read(&id).await, []);
        for n in 0..20_000 {
            logs.append(&id, &[line(2 * n), line(2 * n + 1)]);
            if n % 1000 == 0 {
                logs.read(&id).await;
            }
        }
        let kept = logs.read(&id).await;
        assert_eq!((logs.dropped(), kept.last()), (0, Some(&line(39_999))));
        assert!(kept.windows(2).all(|pair| pair[0].at_micros + 1 == pair[1].at_micros));
        let size: u64 =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size < 2 * FULL + 1000, "{size}");
    }

    #[tokio::test]
    async fn a_cut_line_is_passed_over_and_old_logs_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, id) = (Logs::open(dir.path()).unwrap(), "i1".parse().unwrap());
        std::fs::write(dir.path().join("i1.0"), b"{\"t\":1,\"l\"\n").unwrap();
        logs.append(&id, &[line(7)]);
        assert_eq!(logs.read(&id).await, [line(7)]);
        assert_eq!(logs.sweep(Timestamp::from_unix_micros(1)).await, 0);
        assert_eq!(logs.sweep(Timestamp::from_unix_micros(i64::MAX / 2)).await, 1);
        assert_eq!(logs.read(&id).await, []);
    }
}

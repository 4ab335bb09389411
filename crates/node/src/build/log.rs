//! The log of one build: append-only, in memory while the build runs, and a line
//! of JSON for each entry on disk. Bounded, whatever the steps print.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::disk;

/// Entries of one build; what comes after them is not kept, but for its last words.
const MOST_ENTRIES: usize = 20_000;
/// Bytes of one message.
const MESSAGE_BYTES: usize = 2000;

/// How much an entry matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For those who look for a fault of ours.
    Debug,
    /// What happens.
    Info,
    /// Unexpected; the build goes on.
    Warn,
    /// The build failed.
    Error,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When, in microseconds since 1970.
    pub at: i64,
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// Which step it belongs to: `base`, `1` and on, `finalize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPage {
    /// How many to skip, of those at or above the level.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
    /// None that matters less.
    pub level: LogLevel,
}

impl LogPage {
    /// Picks them.
    pub(super) fn of<'a>(&self, entries: impl Iterator<Item = &'a LogEntry>) -> Vec<LogEntry> {
        let wanted = entries.filter(|entry| entry.level >= self.level);
        wanted.skip(self.offset).take(self.limit).cloned().collect()
    }
}

/// The log of a build under way.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: Vec<LogEntry>,
    /// How many of them are on disk.
    kept: usize,
}

impl Log {
    /// Goes on where the file ends. Blocks on files.
    pub(super) fn open(path: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, disk::Error> {
        let entries = read(&path)?;
        let kept = entries.len();
        Ok(Self { path, clock, state: Mutex::new(State { entries, kept }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Adds an entry, unless the log is full.
    pub(super) fn add(&self, level: LogLevel, step: Option<&str>, message: &str) {
        let at = self.clock.now().unix_micros();
        let mut state = self.state();
        let (level, message) = match state.entries.len() {
            n if n < MOST_ENTRIES || level == LogLevel::Error => (level, cut(message)),
            MOST_ENTRIES => (LogLevel::Warn, "the log is full; what follows is not kept".to_owned()),
            _ => return,
        };
        state.entries.push(LogEntry { at, level, message, step: step.map(str::to_owned) });
    }

    /// A page of it.
    pub(super) fn page(&self, page: LogPage) -> Vec<LogEntry> {
        page.of(self.state().entries.iter())
    }

    /// Writes what is not on disk yet.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), disk::Error> {
        let this = Arc::clone(self);
        disk::blocking(move || this.write()).await
    }

    fn write(&self) -> Result<(), disk::Error> {
        let mut state = self.state();
        if state.kept == state.entries.len() {
            return Ok(());
        }
        let mut text = Vec::new();
        for entry in &state.entries[state.kept..] {
            serde_json::to_writer(&mut text, entry).expect("texts and numbers always serialize");
            text.push(b'\n');
        }
        let append = || {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.path)?;
            file.write_all(&text)
        };
        append().map_err(disk::error("writing", &self.path))?;
        state.kept = state.entries.len();
        Ok(())
    }
}

/// Cuts a message to its bound, between characters. Colours stay: clients strip them.
fn cut(message: &str) -> String {
    let end = (0..=MESSAGE_BYTES.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    let message = &message[..end.unwrap_or_default()];
    message.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\x1b')).collect()
}

/// Reads a log; none yet is an empty one. A last line that was cut off is left out.
pub(super) fn read(path: &Path) -> Result<Vec<LogEntry>, disk::Error> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(disk::error("reading", path)(e)),
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    Ok(lines.take(2 * MOST_ENTRIES).filter_map(|line| serde_json::from_str(&line).ok()).collect())
}

/// The moment of an entry.
impl LogEntry {
    /// When it was added.
    pub fn moment(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    #[tokio::test]
    async fn pages_are_stable_and_a_new_server_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Arc::new(Log::open(path.clone(), Arc::new(SystemClock)).unwrap());
        for n in 0..5 {
            let level = if n % 2 == 0 { LogLevel::Info } else { LogLevel::Warn };
            log.add(level, Some("1"), &format!("line {n}"));
        }
        log.flush().await.unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\"").unwrap();
        let again = Log::open(path, Arc::new(SystemClock)).unwrap();
        let messages = |log: &Log, offset, level| -> Vec<String> {
            let page = log.page(LogPage { offset, limit: 2, level });
            page.into_iter().map(|entry| entry.message).collect()
        };
        assert_eq!(messages(&again, 1, LogLevel::Debug), ["line 1", "line 2"]);
        assert_eq!(messages(&again, 1, LogLevel::Warn), ["line 3"]);
        assert!(messages(&again, 5, LogLevel::Debug).is_empty());
    }

    #[tokio::test]
    async fn a_full_log_keeps_the_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path().join("log"), Arc::new(SystemClock)).unwrap();
        for _ in 0..MOST_ENTRIES + 10 {
            log.add(LogLevel::Info, None, &"ä".repeat(MESSAGE_BYTES));
        }
        log.add(LogLevel::Error, None, "why it failed");
        let all = log.page(LogPage { offset: 0, limit: usize::MAX, level: LogLevel::Debug });
        assert_eq!(all.len(), MOST_ENTRIES + 2);
        assert_eq!(all[0].message.len(), MESSAGE_BYTES);
        assert_eq!(all.last().unwrap().message, "why it failed");
    }
}

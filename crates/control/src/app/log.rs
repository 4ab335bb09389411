//! A sandbox's log: what we did to it, and what the daemon inside tells.
//!
//! The daemon's journal is fetched when somebody reads the log, and now and then
//! while the sandbox is busy; an idle one is never woken for it. What comes from
//! inside is cut to size, and its times are kept between what was shown before
//! and now, so that whoever follows the log by time misses nothing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::SandboxId;
use store::{LogLine, Source};
use tokio::time::Instant;
use wire::control::{LogEntry, LogLevel, LogPage};

use super::{App, Caller, Error};

/// How long the daemon inside may take to answer.
const LIMIT: Duration = Duration::from_millis(500);
/// Readers of one log that come closer together share what was fetched.
const SHARED: Duration = Duration::from_millis(200);
/// How long a kill, pause or rollback may wait for what the daemon inside still has
/// to tell; most answer within a millisecond.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// What of one fetch is kept.
const MOST_ENTRIES: usize = 1000;
const MOST_FIELDS: usize = 16;
const LONGEST: usize = 2048;
const LONGEST_NAME: usize = 64;

/// Which lines are wanted.
#[derive(Debug, Clone)]
pub(crate) struct LogQuery {
    /// From this moment on, in microseconds.
    pub(crate) from: i64,
    /// Before this moment.
    pub(crate) until: i64,
    /// At least so important.
    pub(crate) level: LogLevel,
    /// With this in the message, in any case.
    pub(crate) search: Option<String>,
    /// Whether the newest come first.
    pub(crate) newest_first: bool,
    pub(crate) limit: usize,
}

/// How far each log is.
#[derive(Debug, Default)]
pub(super) struct Tails(Mutex<HashMap<SandboxId, Arc<Tail>>>);

#[derive(Debug)]
struct Tail {
    /// Time of the newest line, in microseconds.
    newest: AtomicI64,
    /// Held while one fetches.
    fetch: tokio::sync::Mutex<Fetched>,
}

#[derive(Debug, Default)]
struct Fetched {
    /// Whether it is known what the file holds already.
    is_known: bool,
    epoch: u64,
    next: u64,
    at: Option<Instant>,
}

impl App {
    /// Adds a line of our own. Never waits.
    pub(super) fn tell(&self, id: &SandboxId, level: LogLevel, message: &str, facts: &[(&str, String)]) {
        let Some(logs) = &self.options().logs else { return };
        let at_micros =
            self.tail(id).newest.fetch_max(self.now_micros(), Ordering::Relaxed).max(self.now_micros());
        let fields = facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let line = LogLine {
            at_micros,
            level: level.as_str().to_owned(),
            logger: "sandbox".to_owned(),
            message: message.to_owned(),
            fields,
            source: None,
        };
        logs.append(id, &[line]);
    }

    /// Lines of a sandbox of the caller's team, ended ones included; none of others.
    pub(crate) async fn log(
        &self,
        caller: &Caller,
        id: &SandboxId,
        query: &LogQuery,
    ) -> Result<Vec<LogLine>, Error> {
        let Some(logs) = &self.options().logs else { return Ok(Vec::new()) };
        match self.row_of(caller, id).await {
            Ok(_) => self.fetch_log(id).await,
            Err(Error::SandboxEnded { .. }) => {}
            Err(Error::NoSandbox(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        Ok(select(logs.read(id).await, query))
    }

    /// Takes over what the daemon inside has to tell. One that does not answer
    /// has nothing to tell this time.
    pub(super) async fn fetch_log(&self, id: &SandboxId) {
        self.fetch_log_unless_since(id, SHARED).await;
    }

    /// The same at once, before the daemon goes or comes back as it was earlier: what
    /// was not fetched by then is lost. One that does not answer soon loses it.
    pub(super) async fn fetch_last_words(&self, id: &SandboxId) {
        let fetching = self.fetch_log_unless_since(id, Duration::ZERO);
        let _: Result<(), _> = tokio::time::timeout(LAST_WORDS, fetching).await;
    }

    async fn fetch_log_unless_since(&self, id: &SandboxId, recently: Duration) {
        let Some(logs) = &self.options().logs else { return };
        let tail = self.tail(id);
        let mut fetched = tail.fetch.lock().await;
        if fetched.at.is_some_and(|at| at.elapsed() < recently) {
            return;
        }
        if !fetched.is_known {
            let known = logs.read(id).await;
            let last = known.iter().rev().find_map(|line| line.source);
            fetched.epoch = last.map_or(0, |source| source.epoch);
            fetched.next = last.map_or(0, |source| source.number.saturating_add(1));
            tail.newest.fetch_max(known.last().map_or(0, |line| line.at_micros), Ordering::Relaxed);
            fetched.is_known = true;
        }
        let answer = self.node().logs(id, fetched.next, LIMIT).await;
        fetched.at = Some(Instant::now());
        let Ok(mut page) = answer else { return };
        if page.epoch != fetched.epoch && fetched.next > 0 {
            // Another daemon counts from the start again.
            fetched.next = 0;
            match self.node().logs(id, 0, LIMIT).await {
                Ok(whole) => page = whole,
                Err(_) => return,
            }
        }
        if page.next < fetched.next {
            // The same daemon as it was earlier: what it tells from here on is new.
            fetched.next = page.next;
        }
        let lines = self.lines(&tail, &fetched, page);
        if let Some(source) = lines.iter().rev().find_map(|line| line.source) {
            (fetched.epoch, fetched.next) = (source.epoch, source.number.saturating_add(1));
            logs.append(id, &lines);
        }
    }

    fn lines(&self, tail: &Tail, fetched: &Fetched, page: LogPage) -> Vec<LogLine> {
        // Clients that follow ask for what is later than the last millisecond they saw.
        let shown = tail.newest.load(Ordering::Relaxed);
        let mut at = if shown == 0 { 0 } else { (shown / 1000 + 1) * 1000 };
        let last = self.now_micros().max(at);
        let mut lines = Vec::new();
        let mut expected = fetched.next;
        for entry in page.entries.into_iter().take(MOST_ENTRIES).filter(|e| e.number >= fetched.next) {
            at = i64::try_from(entry.at_micros).unwrap_or(last).clamp(at, last);
            if entry.number > expected {
                let count = entry.number - expected;
                lines.push(gap(at, count));
            }
            expected = entry.number.saturating_add(1);
            lines.push(line(at, page.epoch, &entry));
        }
        tail.newest.fetch_max(lines.last().map_or(0, |line| line.at_micros), Ordering::Relaxed);
        lines
    }

    /// Nothing more will come of a sandbox.
    pub(super) fn close_log(&self, id: &SandboxId) {
        self.tails().remove(id);
    }

    /// Forgets how far the logs of others are; their files stay.
    pub(super) fn keep_logs_of(&self, running: &HashSet<SandboxId>) {
        self.tails().retain(|id, _| running.contains(id));
    }

    fn tail(&self, id: &SandboxId) -> Arc<Tail> {
        let new = || Arc::new(Tail { newest: AtomicI64::new(0), fetch: tokio::sync::Mutex::default() });
        Arc::clone(self.tails().entry(id.clone()).or_insert_with(new))
    }

    fn tails(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, Arc<Tail>>> {
        self.0.tails.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_micros(&self) -> i64 {
        self.options().clock.now().unix_micros()
    }
}

fn gap(at_micros: i64, count: u64) -> LogLine {
    LogLine {
        at_micros,
        level: LogLevel::Warn.as_str().to_owned(),
        logger: "sandbox".to_owned(),
        message: format!("{count} entries are missing: more came at once than the log takes"),
        fields: std::collections::BTreeMap::new(),
        source: None,
    }
}

fn line(at_micros: i64, epoch: u64, entry: &LogEntry) -> LogLine {
    let short = |text: &str, longest: usize| text.chars().take(longest).collect::<String>();
    let fields = entry.fields.iter().take(MOST_FIELDS);
    LogLine {
        at_micros,
        level: entry.level.as_str().to_owned(),
        logger: short(&entry.logger, LONGEST_NAME),
        message: short(&entry.message, LONGEST),
        fields: fields.map(|(name, value)| (short(name, LONGEST_NAME), short(value, LONGEST))).collect(),
        source: Some(Source { epoch, number: entry.number }),
    }
}

fn select(lines: Vec<LogLine>, query: &LogQuery) -> Vec<LogLine> {
    let search = query.search.as_ref().map(|text| text.to_lowercase());
    let wanted = |line: &LogLine| {
        (query.from..query.until).contains(&line.at_micros)
            && line.level.parse().is_ok_and(|level: LogLevel| level >= query.level)
            && search.as_ref().is_none_or(|text| line.message.to_lowercase().contains(text))
    };
    let lines = lines.into_iter().filter(wanted);
    if query.newest_first {
        let mut lines: Vec<LogLine> = lines.collect();
        lines.reverse();
        lines.truncate(query.limit);
        lines
    } else {
        lines.take(query.limit).collect()
    }
}

//! What the daemon has to tell of itself and of the processes it starts, for
//! whoever reads the sandbox's log.
//!
//! Kept here until the host fetches it (`GET /logs` on its socket): nothing is
//! pushed, so an idle sandbox holds no connection. Bounded in bytes; where more
//! comes than is fetched, the oldest goes, and the numbers show the gap.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use wire::control::{LogEntry, LogLevel, LogPage};

/// Bytes of text that are kept.
const KEPT: usize = 128 << 10;
/// Longest text of one message or field; the rest is cut.
const LONGEST: usize = 1024;
/// What an entry takes beside its texts.
const OVERHEAD: usize = 128;
/// Entries and bytes of one answer.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 96 << 10;

/// The journal.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Tells this daemon's numbers from those of one before it.
    epoch: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<LogEntry>,
    bytes: usize,
    next: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { epoch: now_micros(), state: Mutex::default() }
    }
}

impl Journal {
    /// Notes something. Never blocks for long and never fails.
    pub(crate) fn note(&self, level: LogLevel, logger: &str, message: &str, fields: &[(&str, String)]) {
        let fields: BTreeMap<String, String> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), cut(value))).collect();
        let mut state = self.lock();
        let entry = LogEntry {
            number: state.next,
            at_micros: now_micros(),
            level,
            logger: logger.to_owned(),
            message: cut(message),
            fields,
        };
        state.next += 1;
        state.bytes += size(&entry);
        state.entries.push_back(entry);
        while state.bytes > KEPT
            && let Some(oldest) = state.entries.pop_front()
        {
            state.bytes -= size(&oldest);
        }
    }

    /// The entries from a number on, as many as one answer takes.
    pub(crate) fn page(&self, from: u64) -> LogPage {
        let state = self.lock();
        let mut bytes = 0;
        let fits = |entry: &&LogEntry| {
            bytes += size(entry);
            bytes <= PAGE_BYTES
        };
        let wanted = state.entries.iter().filter(|entry| entry.number >= from);
        let entries: Vec<LogEntry> = wanted.take(PAGE).take_while(fits).cloned().collect();
        let next = entries.last().map_or(state.next, |last| last.number + 1);
        LogPage { epoch: self.epoch, next, entries }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(entry: &LogEntry) -> usize {
    let fields: usize = entry.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    OVERHEAD + entry.logger.len() + entry.message.len() + fields
}

fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

fn now_micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_and_leaves_a_gap_in_the_numbers() {
        let journal = Journal::default();
        for n in 0..10_000 {
            journal.note(LogLevel::Info, "test", &"é".repeat(2000), &[("n", n.to_string())]);
        }
        assert!(journal.lock().bytes <= KEPT);
        let page = journal.page(0);
        assert!(page.entries[0].number > 9_000, "{}", page.entries[0].number);
        assert_eq!(page.entries[0].message.chars().last(), Some('…'));
        let rest = journal.page(page.next);
        assert_eq!(rest.entries[0].number, page.next);
        let mut from = rest.next;
        while !journal.page(from).entries.is_empty() {
            from = journal.page(from).next;
        }
        assert_eq!(from, 10_000);
    }
}

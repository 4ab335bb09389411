//! All processes that were started here, and the ends of those that ended lately.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::time::Instant;
use wire::control::LogLevel;
use wire::process::{EndEvent, ProcessInfo, ProcessSelector};

use super::reaper::Reaper;
use super::running::{Process, raw};
use crate::bounds::{Bounds, Budget};
use crate::exec::Launcher;
use crate::journal::Journal;
use crate::settings::Settings;

/// The process service's state.
#[derive(Debug)]
pub(crate) struct Processes {
    pub(super) launcher: Rc<Launcher>,
    pub(super) reaper: Rc<Reaper>,
    pub(super) settings: std::sync::Arc<Settings>,
    pub(super) journal: std::sync::Arc<Journal>,
    pub(super) bounds: Bounds,
    /// Output that waits for subscribers.
    pub(super) output: Budget,
    live: RefCell<Vec<Rc<Process>>>,
    came: Notify,
    retained: RefCell<VecDeque<Retained>>,
}

#[derive(Debug)]
struct Retained {
    pid: u32,
    tag: Option<String>,
    end: EndEvent,
    expires: Instant,
}

/// What a selector led to.
#[derive(Debug)]
pub(crate) enum Found {
    /// A process that has not ended.
    Live(Rc<Process>),
    /// One that ended lately.
    Ended {
        /// Its id.
        pid: u32,
        /// Its end.
        end: EndEvent,
    },
}

impl Processes {
    /// No processes yet.
    pub(crate) fn new(
        launcher: Rc<Launcher>,
        reaper: Rc<Reaper>,
        settings: std::sync::Arc<Settings>,
        journal: std::sync::Arc<Journal>,
        bounds: Bounds,
    ) -> Self {
        Self {
            launcher,
            reaper,
            settings,
            journal,
            bounds,
            output: Budget::new(bounds.output_bytes),
            live: RefCell::default(),
            came: Notify::new(),
            retained: RefCell::default(),
        }
    }

    /// A subscriber that takes nothing for this long is cut off, and the process goes on.
    pub(super) fn patience(&self) -> std::time::Duration {
        self.settings.get().output_patience
    }

    /// Those that have not ended.
    pub(crate) fn list(&self) -> Vec<ProcessInfo> {
        self.live.borrow().iter().map(|process| process.info()).collect()
    }

    pub(super) fn list_len(&self) -> usize {
        self.live.borrow().len()
    }

    /// Returns when there is a process; at once if one came since the last call.
    pub(crate) async fn wait_for_any(&self) {
        if self.live.borrow().is_empty() {
            self.came.notified().await;
        }
    }

    /// The live process of this selector. The youngest wins: the id of one whose
    /// outputs are still held open may have been given away again.
    pub(crate) fn find_live(&self, selector: &ProcessSelector) -> Option<Rc<Process>> {
        let live = self.live.borrow();
        live.iter().rev().find(|process| matches(selector, raw(process.pid), process.tag.as_deref())).cloned()
    }

    /// The live process, else the end of one that ended lately.
    pub(crate) fn find(&self, selector: &ProcessSelector) -> Option<Found> {
        if let Some(process) = self.find_live(selector) {
            return Some(Found::Live(process));
        }
        self.forget_expired();
        let retained = self.retained.borrow();
        let ended = retained.iter().rev().find(|r| matches(selector, r.pid, r.tag.as_deref()))?;
        Some(Found::Ended { pid: ended.pid, end: ended.end.clone() })
    }

    pub(super) fn add(&self, process: Rc<Process>) {
        let (pid, tag) = (raw(process.pid), process.tag.clone());
        self.retained.borrow_mut().retain(|r| r.pid != pid && (tag.is_none() || r.tag != tag));
        self.live.borrow_mut().push(process);
        self.came.notify_one();
    }

    /// Takes it out of the list and keeps its end.
    pub(super) fn retire(&self, process: &Rc<Process>, end: &EndEvent) {
        let pid = raw(process.pid).to_string();
        let facts = [("pid", pid), ("exit_code", end.exit_code.to_string()), ("status", end.status.clone())];
        self.journal.note(LogLevel::Info, "process", "Process ended", &facts);
        self.live.borrow_mut().retain(|other| !Rc::ptr_eq(other, process));
        process.retired.set(true);
        process.changed.notify_waiters();
        self.forget_expired();
        let mut retained = self.retained.borrow_mut();
        if retained.len() >= self.bounds.ends {
            retained.pop_front();
        }
        retained.push_back(Retained {
            pid: raw(process.pid),
            tag: process.tag.clone(),
            end: end.clone(),
            expires: Instant::now() + self.bounds.end_age,
        });
    }

    fn forget_expired(&self) {
        let now = Instant::now();
        let mut retained = self.retained.borrow_mut();
        while retained.front().is_some_and(|oldest| oldest.expires <= now) {
            retained.pop_front();
        }
    }
}

fn matches(selector: &ProcessSelector, pid: u32, tag: Option<&str>) -> bool {
    match selector {
        ProcessSelector::Pid(wanted) => *wanted == pid,
        ProcessSelector::Tag(wanted) => Some(wanted.as_str()) == tag,
        ProcessSelector::Unset => false,
    }
}

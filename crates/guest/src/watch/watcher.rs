//! One caller's view of a directory: a bounded queue of events.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;
use wire::connect::{Code, Error};
use wire::filesystem::FilesystemEvent;

/// Events of one watch, from its arming on.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Absolute path of the watched directory.
    pub(super) root: String,
    pub(super) recursive: bool,
    pub(super) include_entry: bool,
    events: RefCell<VecDeque<FilesystemEvent>>,
    failure: RefCell<Option<Error>>,
    /// Whether the reader has gone and the hub may forget it.
    pub(super) closed: Cell<bool>,
    /// Events that may wait. A reader that is slower gets an error.
    queue: usize,
    news: Notify,
}

impl Watcher {
    pub(super) fn new(root: String, recursive: bool, include_entry: bool, queue: usize) -> Self {
        Self {
            root,
            recursive,
            include_entry,
            events: RefCell::default(),
            failure: RefCell::default(),
            closed: Cell::new(false),
            queue,
            news: Notify::new(),
        }
    }

    pub(super) fn push(&self, event: FilesystemEvent) {
        if self.events.borrow().len() >= self.queue {
            self.fail(&Error::new(Code::Internal, "too many events: the watcher was not read in time"));
            return;
        }
        self.events.borrow_mut().push_back(event);
        self.news.notify_one();
    }

    /// Ends the watch with an error, which stays. The first one counts.
    pub(super) fn fail(&self, error: &Error) {
        self.failure.borrow_mut().get_or_insert_with(|| error.clone());
        self.news.notify_one();
    }

    /// Everything since the last call.
    pub(crate) fn take(&self) -> Result<Vec<FilesystemEvent>, Error> {
        match &*self.failure.borrow() {
            Some(error) => Err(error.clone()),
            None => Ok(self.events.take().into()),
        }
    }

    /// Waits for events and takes them. Cancel-safe.
    pub(crate) async fn next(&self) -> Result<Vec<FilesystemEvent>, Error> {
        loop {
            let events = self.take()?;
            if !events.is_empty() {
                return Ok(events);
            }
            self.news.notified().await;
        }
    }
}

//! The one place that waits for children: users' processes, the exec helper, and
//! every orphan that the kernel hands to the first process.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::oom::OomLog;

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit(pub(crate) WaitStatus);

/// Collects exit statuses. A process may end before its starter learnt its id:
/// while a start is under way, unclaimed statuses are kept.
#[derive(Debug)]
pub(crate) struct Reaper {
    oom: Arc<OomLog>,
    waiting: RefCell<HashMap<Pid, oneshot::Sender<Exit>>>,
    unclaimed: RefCell<HashMap<Pid, Exit>>,
    n_starts: Cell<usize>,
}

/// A start under way; while it lives, no exit status is lost.
#[derive(Debug)]
pub(crate) struct Starting {
    reaper: Rc<Reaper>,
}

impl Reaper {
    /// Shows every end to `oom` before it is reaped.
    pub(crate) fn new(oom: Arc<OomLog>) -> Self {
        Self { oom, waiting: RefCell::default(), unclaimed: RefCell::default(), n_starts: Cell::default() }
    }

    /// What it knows of ends for want of memory.
    pub(crate) fn oom(&self) -> &Arc<OomLog> {
        &self.oom
    }

    /// Reaps until the daemon ends.
    pub(crate) async fn run(self: Rc<Self>) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            self.reap_all();
            children.recv().await;
        }
    }

    /// To be called before a process is started.
    pub(crate) fn starting(self: &Rc<Self>) -> Starting {
        self.n_starts.set(self.n_starts.get() + 1);
        Starting { reaper: Rc::clone(self) }
    }

    fn reap_all(&self) {
        // Ends with ECHILD when there is no child at all.
        while let Ok(Some(ended)) = sys::wait::peek() {
            self.oom.look(&ended);
            let Ok(Some((pid, status))) = waitpid(Some(ended.pid), WaitOptions::NOHANG) else { break };
            let exit = Exit(status);
            if let Some(waiting) = self.waiting.borrow_mut().remove(&pid) {
                // The pump that asked may be gone at the daemon's end.
                let _ = waiting.send(exit);
            } else if self.n_starts.get() > 0 {
                self.unclaimed.borrow_mut().insert(pid, exit);
            }
        }
    }
}

impl Starting {
    /// The exit of the process that was started, now or later.
    pub(crate) fn started(self, pid: Pid) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        match self.reaper.unclaimed.borrow_mut().remove(&pid) {
            Some(exit) => drop(sender.send(exit)),
            None => drop(self.reaper.waiting.borrow_mut().insert(pid, sender)),
        }
        receiver
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let left = self.reaper.n_starts.get() - 1;
        self.reaper.n_starts.set(left);
        if left == 0 {
            self.reaper.unclaimed.borrow_mut().clear();
        }
    }
}

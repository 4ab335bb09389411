//! One process as its callers see it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Notify, mpsc};
use wire::process::{DataEvent, EndEvent, ProcessConfig, ProcessInfo};

use super::input::Input;
use super::reaper::Exit;
use super::subscriber::Subscriber;
use crate::bounds::Share;
use crate::oom::OomLog;

/// Pieces of output that wait for one subscriber. A full queue holds the pump,
/// and through the pipe the process, until the subscriber reads or is cut off.
const QUEUE: usize = 16;

/// What a subscriber is told.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Output.
    Data(Rc<Piece>),
    /// The last one.
    End(EndEvent),
}

/// A piece of output, and its share of what may wait for subscribers.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The bytes.
    pub(crate) data: DataEvent,
    pub(super) _share: Share,
}

/// A process that was started here and has not ended yet.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: Pid,
    /// As given by the caller.
    pub(crate) config: ProcessConfig,
    /// As given by the caller.
    pub(crate) tag: Option<String>,
    /// Where it reads from.
    pub(crate) input: Input,
    oom: Arc<OomLog>,
    pub(super) subscribers: RefCell<Vec<Subscriber>>,
    /// How it ended, once it was reaped.
    pub(super) exit: Cell<Option<Exit>>,
    /// Set when the end must not wait for the end of the outputs.
    pub(super) killed: Cell<bool>,
    /// Set when it is no longer in the list.
    pub(super) retired: Cell<bool>,
    /// Rung when one of the three above is set.
    pub(super) changed: Notify,
}

impl Process {
    pub(super) fn new(
        pid: Pid,
        config: ProcessConfig,
        tag: Option<String>,
        input: Input,
        oom: Arc<OomLog>,
    ) -> Self {
        Self {
            pid,
            config,
            tag,
            input,
            oom,
            subscribers: RefCell::default(),
            exit: Cell::new(None),
            killed: Cell::new(false),
            retired: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Everything that it puts out from now on, and its end. A receiver that
    /// closes without an end was cut off because it did not read.
    pub(crate) fn subscribe(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.subscribers.borrow_mut().push(Subscriber::new(sender));
        receiver
    }

    /// Sends SIGKILL or SIGTERM to it alone. Its children may live on and hold
    /// its outputs open, so its end no longer waits for them.
    pub(crate) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        // Once reaped, the id may belong to another process.
        if self.exit.get().is_none() {
            if signal == Signal::KILL {
                self.oom.spare(self.pid);
            }
            kill_process(self.pid, signal)?;
        }
        self.killed.set(true);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Waits until it was reaped and is gone from the list.
    pub(crate) async fn gone(&self) {
        loop {
            // Before the look, so that no change is missed after it.
            let changed = self.changed.notified();
            if self.retired.get() {
                return;
            }
            changed.await;
        }
    }

    /// Its row in the list.
    pub(crate) fn info(&self) -> ProcessInfo {
        ProcessInfo { config: Some(self.config.clone()), pid: raw(self.pid), tag: self.tag.clone() }
    }
}

/// The id as the wire has it.
pub(crate) fn raw(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

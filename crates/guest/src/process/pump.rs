//! Carries a process's output to its subscribers until its end.
//!
//! Runs whether or not anybody subscribes: output that nobody wants is read and
//! dropped, so that no process ever waits for a client that is not there.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;
use wire::process::{DataEvent, EndEvent};

use super::endpoint::Endpoint;
use super::reaper::Exit;
use super::running::{Event, Piece, Process};
use super::status::end_event;
use super::subscriber::MAX_BACKLOG;
use super::table::Processes;
use crate::bounds::Share;

/// After a kill, at most this often what was already written is still read from
/// each output, 1 MiB of a pipe: children that write on must not delay the end for ever.
const MAX_DRAIN: usize = 32;

/// One output of a process.
pub(super) struct Output {
    endpoint: Option<Rc<Endpoint>>,
    wrap: fn(Bytes) -> DataEvent,
}

impl Output {
    pub(super) fn new(endpoint: Rc<Endpoint>, wrap: fn(Bytes) -> DataEvent) -> Self {
        Self { endpoint: Some(endpoint), wrap }
    }

    /// An output that the process does not have.
    pub(super) fn none() -> Self {
        Self { endpoint: None, wrap: DataEvent::Stderr }
    }

    /// The next piece; `None` at the end, which comes once.
    async fn next(&mut self) -> Option<DataEvent> {
        let Some(endpoint) = &self.endpoint else { return std::future::pending().await };
        match endpoint.read().await {
            Ok(bytes) if !bytes.is_empty() => Some((self.wrap)(bytes)),
            // An error of a pipe's read end has no cure and no reader: treat it as the end.
            Ok(_) | Err(_) => {
                self.endpoint = None;
                None
            }
        }
    }

    fn next_now(&self) -> io::Result<Option<DataEvent>> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let bytes = endpoint.read_now()?;
        Ok((!bytes.is_empty()).then(|| (self.wrap)(bytes)))
    }

    fn ended(&self) -> bool {
        self.endpoint.is_none()
    }
}

/// Runs until the process has ended and its end was told.
pub(super) async fn run(
    processes: Rc<Processes>,
    process: Rc<Process>,
    mut outputs: [Output; 2],
    exit: oneshot::Receiver<Exit>,
) {
    spawn_local(note_exit(Rc::clone(&process), exit));
    loop {
        // Before the look, so that no change is missed after it.
        let changed = process.changed.notified();
        let [first, second] = &mut outputs;
        let may_end = process.killed.get() || (first.ended() && second.ended());
        if let (Some(exit), true) = (process.exit.get(), may_end) {
            drain(&processes, &process, &outputs).await;
            let end = end_event(exit);
            processes.retire(&process, &end);
            tell_end(&process, end, processes.patience());
            crate::memory::work_ended();
            return;
        }
        let event = tokio::select! {
            // In no fixed order: a child that never stops writing must not hide the exit,
            // and what was written before the exit is still drained after it.
            event = first.next() => event,
            event = second.next() => event,
            () = changed => None,
        };
        if let Some(event) = event {
            tell_piece(&processes, &process, event).await;
        }
    }
}

/// Apart from the pump, which may be waiting for a subscriber.
async fn note_exit(process: Rc<Process>, exit: oneshot::Receiver<Exit>) {
    // The reaper drops a sender only at the daemon's own end.
    if let Ok(exit) = exit.await {
        process.exit.set(Some(exit));
        process.changed.notify_waiters();
    }
}

/// Tells what a killed process had written before it died.
async fn drain(processes: &Processes, process: &Process, outputs: &[Output; 2]) {
    for output in outputs {
        for _ in 0..MAX_DRAIN {
            let Ok(Some(event)) = output.next_now() else { break };
            tell_piece(processes, process, event).await;
        }
    }
}

/// Tells one piece once there is room for it. What a killed process left is
/// little, and its end is not to wait for the readers of others.
async fn tell_piece(processes: &Processes, process: &Process, data: DataEvent) {
    if process.subscribers.borrow().is_empty() {
        return;
    }
    let share = loop {
        let changed = process.changed.notified();
        if process.killed.get() {
            break Share::none();
        }
        tokio::select! {
            share = processes.output.take(data.bytes().len()) => break share,
            () = changed => {}
        }
    };
    let piece = Rc::new(Piece { data, _share: share });
    tell_all(process, &Event::Data(piece), processes.patience()).await;
}

/// Tells every subscriber, and waits for those that are slow: that holds the
/// process back. Of one that was killed the rest is kept for them instead.
async fn tell_all(process: &Process, event: &Event, patience: Duration) {
    process.subscribers.borrow_mut().retain_mut(|subscriber| subscriber.offer(event));
    loop {
        let changed = process.changed.notified();
        let allowed = match (process.killed.get(), process.exit.get()) {
            (false, _) => 0,
            (true, None) => MAX_BACKLOG,
            // What is drained from here on is bounded.
            (true, Some(_)) => usize::MAX,
        };
        let slow = process.subscribers.borrow().iter().find_map(|subscriber| subscriber.waiting(allowed));
        let Some((sender, event)) = slow else { return };
        let took = tokio::select! {
            took = timeout(patience, sender.send(event)) => matches!(took, Ok(Ok(()))),
            // What was being sent stays in the backlog.
            () = changed => continue,
        };
        process
            .subscribers
            .borrow_mut()
            .retain_mut(|subscriber| !subscriber.is(&sender) || (took && subscriber.took()));
    }
}

/// Tells the end. Nobody waits for a slow subscriber any more: each gets its
/// rest at its own pace.
fn tell_end(process: &Process, end: EndEvent, patience: Duration) {
    let event = Event::End(end);
    for mut subscriber in process.subscribers.take() {
        if subscriber.offer(&event) {
            spawn_local(subscriber.deliver(patience));
        }
    }
}

//! Follows a request through the kernel's messages and turns them into lines.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wire::execute::{Failure, Item, Output};

use super::config::{HALF_END, INTERRUPT_AGAIN, INTERRUPT_GRACE};
use super::context::Order;
use super::display::{Role, result_line};
use super::kernel::{Halves, Kernel};
use super::lines::{Gone, Lines};
use super::message::{Accepted, Incoming, Status, Stream, Trouble, Wishes};
use super::pump::{Channel, Event};

/// How an execution ended.
#[derive(Debug)]
pub(super) enum End {
    /// The kernel is quiet.
    Done,
    /// The code ended its kernel in the way of its language, which takes a moment.
    Left,
    /// The kernel's sockets ended, before it took the code or after.
    Died { begun: bool },
    /// The kernel was condemned.
    Ordered(Order),
    /// The code did not heed its interrupts.
    Deaf,
    /// The code has become too many processes to be interrupted.
    Crowd,
}

/// A request that was sent, until its end.
#[derive(Debug)]
pub(super) struct Execution<'a> {
    kernel: &'a mut Kernel,
    lines: &'a Lines,
    halves: Halves,
    /// Whether the kernel has begun: an interrupt before that would be ignored.
    begun: bool,
    failed: bool,
    left: bool,
    /// The reply's failure, told at the end if no broadcast told one.
    reply: Option<Trouble>,
    leaving: Option<Leaving>,
    half_end: Option<Instant>,
}

/// The client is gone; the code is being stopped.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    interrupt_at: Instant,
    give_up_at: Instant,
}

impl<'a> Execution<'a> {
    pub(super) fn new(kernel: &'a mut Kernel, lines: &'a Lines) -> Self {
        Self {
            kernel,
            lines,
            halves: Halves::default(),
            begun: false,
            failed: false,
            left: false,
            reply: None,
            leaving: None,
            half_end: None,
        }
    }

    /// Runs to the end. `ordered` pre-empts everything, a slow client included.
    pub(super) async fn follow(mut self, ordered: impl Future<Output = Order>) -> End {
        let mut ordered = pin!(ordered);
        while !self.halves.both() {
            let event = tokio::select! {
                biased;
                order = &mut ordered => return End::Ordered(order),
                () = self.lines.closed(), if self.leaving.is_none() => {
                    self.leave();
                    continue;
                }
                () = until(self.deadline()) => match self.overdue().await {
                    Some(end) => return end,
                    None => continue,
                },
                event = self.kernel.event() => event,
            };
            let Event::Message(channel, message) = event else { return End::Died { begun: self.begun } };
            let written = tokio::select! {
                biased;
                order = &mut ordered => return End::Ordered(order),
                written = self.message(channel, &message) => written,
            };
            if written == Err(Gone) && self.leaving.is_none() {
                self.leave();
            }
            self.half_end = (self.halves.replied || self.halves.idle).then(|| Instant::now() + HALF_END);
        }
        self.conclude().await;
        if self.left { End::Left } else { End::Done }
    }

    fn leave(&mut self) {
        let now = Instant::now();
        self.leaving = Some(Leaving { interrupt_at: now, give_up_at: now + INTERRUPT_GRACE });
    }

    fn deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.map(|leaving| leaving.interrupt_at.min(leaving.give_up_at));
        [leaving, self.half_end].into_iter().flatten().min()
    }

    /// Does what is due; the end, if that is due.
    async fn overdue(&mut self) -> Option<End> {
        const NOT_BEGUN: Duration = Duration::from_millis(20);
        let now = Instant::now();
        if self.half_end.is_some_and(|at| at <= now) {
            return Some(End::Done);
        }
        let leaving = self.leaving.as_mut()?;
        if leaving.give_up_at <= now {
            return Some(End::Deaf);
        }
        if leaving.interrupt_at <= now {
            if self.begun {
                if self.kernel.is_crowd() {
                    return Some(End::Crowd);
                }
                self.kernel.interrupt().await;
            }
            leaving.interrupt_at = now + if self.begun { INTERRUPT_AGAIN } else { NOT_BEGUN };
        }
        None
    }

    async fn message(&mut self, channel: Channel, message: &Incoming) -> Result<(), Gone> {
        self.halves.note(channel, message);
        if message.skipped > 0 {
            let text = format!("an output of {} bytes was left out: it is too large", message.skipped);
            return self.lines.remark(&text).await;
        }
        match (channel, message.kind.as_str()) {
            (Channel::Shell, "execute_reply") => {
                self.left = message.content::<Wishes>().is_some_and(|wishes| wishes.is_farewell());
                self.reply = message.content::<Trouble>().filter(|trouble| trouble.status != "ok");
                Ok(())
            }
            (Channel::Broadcast, kind) => self.broadcast(kind, message).await,
            (Channel::Shell, _) => Ok(()),
        }
    }

    async fn broadcast(&mut self, kind: &str, message: &Incoming) -> Result<(), Gone> {
        match kind {
            "status" => {
                let state = message.content::<Status>().map(|status| status.execution_state);
                self.begun |= state.as_deref() == Some("busy");
                Ok(())
            }
            "execute_input" => match message.content::<Accepted>() {
                Some(Accepted { execution_count }) => {
                    self.lines.item(&Item::NumberOfExecutions { execution_count }).await
                }
                None => self.unreadable().await,
            },
            "stream" => self.stream(message).await,
            "display_data" => self.display(message, Role::Aside).await,
            "execute_result" => self.display(message, Role::Main).await,
            "error" => match message.content::<Trouble>() {
                Some(trouble) => self.fail(trouble).await,
                None => self.unreadable().await,
            },
            // Updates, clears and widget messages have no place in the stream.
            _ => Ok(()),
        }
    }

    async fn stream(&mut self, message: &Incoming) -> Result<(), Gone> {
        let Some(Stream { name, text }) = message.content() else { return self.unreadable().await };
        let output = Output { text, timestamp: message.date.clone() };
        let item = if name == "stderr" { Item::Stderr(output) } else { Item::Stdout(output) };
        self.lines.item(&item).await
    }

    async fn display(&mut self, message: &Incoming, role: Role) -> Result<(), Gone> {
        match result_line(&message.text(), role) {
            Some(line) => self.lines.line(line).await,
            None => self.unreadable().await,
        }
    }

    /// At most one failure per execution reaches the client.
    async fn fail(&mut self, trouble: Trouble) -> Result<(), Gone> {
        if std::mem::replace(&mut self.failed, true) {
            return Ok(());
        }
        let failure =
            Failure { name: trouble.ename, value: trouble.evalue, traceback: trouble.traceback.concat() };
        self.lines.item(&Item::Error(failure)).await
    }

    async fn unreadable(&mut self) -> Result<(), Gone> {
        self.lines.remark("the kernel sent an output that cannot be read").await
    }

    async fn conclude(&mut self) {
        let Some(mut trouble) = self.reply.take() else { return };
        if trouble.status == "aborted" || trouble.status == "abort" {
            "ExecutionAborted".clone_into(&mut trouble.ename);
            "The kernel refused the code because earlier code failed".clone_into(&mut trouble.evalue);
        }
        _ = self.fail(trouble).await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

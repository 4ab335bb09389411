//! One execution, from its turn to its last line.
//!
//! ```text
//! turn → kernel → variables → request ─┬─ both halves of the end ─▶ end line → variables back
//!                                      ├─ client gone ─▶ interrupt, drain to the end (else kill; a crowd at once)
//!                                      ├─ order ───────▶ error, end line
//!                                      └─ kernel died ─▶ error, end line → a fresh kernel
//! ```
//!
//! The turn is held until the kernel is quiet again, so that the next execution
//! never meets the rest of this one.

use std::collections::BTreeMap;
use std::error::Error as _;

use wire::execute::Item;

use super::config::INTERRUPT_GRACE;
use super::context::{Context, Order, Turn};
use super::crowd::CROWD;
use super::follow::{End, Execution};
use super::kernel::Error;
use super::lines::{Gone, Lines};
use super::link::Ask;
use super::silent::{self, Changes};
use crate::memory::Kills;

/// What to run.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) code: String,
    /// Variables for this execution alone.
    pub(super) env_vars: BTreeMap<String, String>,
    /// The sandbox's variables.
    pub(super) envs: BTreeMap<String, String>,
}

/// Runs `task` in `context` and writes its lines; the last one is always the end
/// line, unless the client is gone before.
pub(super) async fn run(context: &Context, task: Task, lines: Lines) {
    let turn = tokio::select! {
        biased;
        // Nothing has started yet: whoever left the queue leaves no trace.
        () = lines.closed() => return,
        turn = context.turn() => turn,
    };
    let Ok(mut turn) = turn else {
        _ = lines.failure("ContextRemoved", "The context was removed before the code ran").await;
        _ = lines.item(&Item::EndOfExecution).await;
        return;
    };
    let mut undo = Changes::new();
    let kills = crate::memory::kills();
    let mut end = in_turn(context, &mut turn, &task, &lines, &mut undo).await;
    if matches!(end, Ok(End::Died { begun: false })) {
        // It was dead already, which nobody had noticed: nothing of the code has run.
        let how = turn.discard(context).await.unwrap_or_default();
        turn.notice = Some(idle_death(&how));
        end = in_turn(context, &mut turn, &task, &lines, &mut undo).await;
    }
    // A client that is gone needs no last words.
    _ = explain(context, &mut turn, (end, kills), &lines).await;
    _ = lines.item(&Item::EndOfExecution).await;
    drop(lines);
    settle(context, &mut turn, &undo).await;
}

/// Runs the code; `undo` holds what takes the request's variables back.
async fn in_turn(
    context: &Context,
    turn: &mut Turn,
    task: &Task,
    lines: &Lines,
    undo: &mut Changes,
) -> Result<End, Error> {
    turn.kernel(context).await?;
    if let Some(notice) = turn.notice.take() {
        _ = lines.remark(&notice).await;
    }
    let generation = turn.generation();
    let kernel = turn.kernel(context).await?;
    if silent::follow(kernel, task.envs.clone()).await.is_err() {
        return Ok(End::Died { begun: false });
    }
    match silent::overlay(kernel, &task.env_vars).await {
        Ok(changes) => *undo = changes,
        Err(silent::Stuck) => return Ok(End::Died { begun: false }),
    }
    if kernel.ask(Ask::Cell(&task.code)).await.is_err() {
        return Ok(End::Died { begun: false });
    }
    let end = Execution::new(kernel, lines).follow(context.ordered(generation)).await;
    kernel.forget();
    Ok(end)
}

/// Tells the client how it ended, if not well, and throws away what is no use.
async fn explain(
    context: &Context,
    turn: &mut Turn,
    (end, kills): (Result<End, Error>, Option<Kills>),
    lines: &Lines,
) -> Result<(), Gone> {
    match end {
        Ok(End::Done) => Ok(()),
        Ok(End::Ordered(Order::Restart { .. })) => {
            lines.failure("ContextRestarting", "Context was restarted").await
        }
        Ok(End::Ordered(Order::Remove)) => {
            lines.failure("ContextRemoved", "The context was removed while the code ran").await
        }
        Ok(End::Died { .. }) => {
            let how = turn.discard(context).await.unwrap_or_else(|| "it was replaced".to_owned());
            let for_memory = is_kill(&how) && crate::memory::kills() > kills;
            lines.failure("UnexpectedEndOfExecution", &death(&how, for_memory)).await
        }
        Ok(End::Left) => {
            // Else the next execution would meet it on its way out.
            turn.discard_alive(context).await;
            turn.notice = Some(
                "earlier code ended its kernel; this is a fresh one without the earlier variables".to_owned(),
            );
            Ok(())
        }
        Ok(End::Deaf) => {
            turn.discard_alive(context).await;
            turn.notice = Some(format!(
                "earlier code did not stop within {} s of its interrupt, so its kernel was replaced; \
                 this is a fresh one without the earlier variables",
                INTERRUPT_GRACE.as_secs()
            ));
            Ok(())
        }
        Ok(End::Crowd) => {
            turn.discard_alive(context).await;
            turn.notice = Some(format!(
                "earlier code had {CROWD} processes or more when it was to be stopped, so all of them were \
                 killed with its kernel; this is a fresh one without the earlier variables"
            ));
            Ok(())
        }
        Err(error) => lines.failure("KernelNotStarted", &chain(&error)).await,
    }
}

/// What the next execution is told of a kernel that ended between two.
pub(super) fn idle_death(how: &str) -> String {
    format!("the kernel ended while it was idle ({how}); this is a fresh one without the earlier variables")
}

/// Whether this is how the kernel kills, for want of memory or for a user: both
/// ways in which a process's end is told, the daemon's and the nursery's.
fn is_kill(how: &str) -> bool {
    how == "signal: killed" || how == "killed by signal 9"
}

fn death(how: &str, for_memory: bool) -> String {
    let guess = match (for_memory, is_kill(how)) {
        (true, _) => ": the sandbox ran out of memory",
        (false, true) => ", by somebody or for want of memory",
        (false, false) => "",
    };
    format!(
        "The kernel ended before the execution was finished ({how}{guess}). \
         Its variables are lost; the next execution gets a fresh kernel"
    )
}

/// An error with its causes.
pub(super) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Leaves the kernel as the next execution wants it. Errors wait for that one: it
/// starts a kernel itself and reports what prevents it.
async fn settle(context: &Context, turn: &mut Turn, undo: &Changes) {
    let Ok(kernel) = turn.kernel_after(context).await else { return };
    // A fresh kernel never had the variables, and undoing twice does no harm.
    if silent::apply(kernel, undo).await.is_err() {
        _ = turn.discard(context).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_for_want_of_memory_says_so() {
        assert!(death("signal: killed", true).contains("ran out of memory"));
        assert!(death("killed by signal 9", false).contains("for want of memory"));
        assert!(!death("exit status 3", is_kill("exit status 3")).contains("memory"));
    }
}

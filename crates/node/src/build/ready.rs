//! The start command and the ready command of a template: launched when a
//! sandbox starts, tried once at the end of a build.

use std::time::Duration;

use runtime::Dial;
use wire::process::EndEvent;

use super::call::{self, Channel, Process};
use super::order::Start;
use super::step::{StepFailure, is_success};
use super::tail::Tail;

/// How long a start command without a ready command may show that it fails.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);
/// Waits between attempts of the ready command grow up to the last.
const PAUSES_MS: [u64; 6] = [20, 50, 100, 250, 500, 1000];

/// Where the commands run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) dial: &'a dyn Dial,
    pub(crate) user: &'a str,
    pub(crate) workdir: Option<&'a str>,
    /// What the sandbox's daemon demands.
    pub(crate) token: Option<&'a str>,
}

/// How long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Until the ready command succeeds.
    pub(crate) ready: Duration,
    /// How long a start command is watched that has no ready command.
    pub(crate) settle: Duration,
}

impl Place<'_> {
    fn process(&self, command: &str) -> Process {
        let mut process = Process::login(self.user, command, self.workdir);
        process.token = self.token.map(str::to_owned);
        process
    }
}

/// Launches the start command, which goes on when this returns, and waits until
/// the ready command succeeds. The failure says which command, how, and what it
/// printed last.
pub(crate) async fn start(
    place: &Place<'_>,
    start: &Start,
    limits: Limits,
    print: impl FnMut(Channel, &[u8]),
) -> Result<(), String> {
    let mut tail = Tail::new(|_| {});
    let mut print = print;
    let runs = tokio::sync::Notify::new();
    let launched = async {
        match &start.command {
            None => std::future::pending().await,
            Some(command) => {
                let take = |channel, output: &[u8]| {
                    tail.push(output);
                    print(channel, output);
                };
                call::launch(place.dial, &place.process(command), || runs.notify_one(), take).await
            }
        }
    };
    let ready = async {
        if start.command.is_some() {
            runs.notified().await;
        }
        until_ready(place, start, limits).await
    };
    let ended = {
        let mut launched = std::pin::pin!(launched);
        let mut ready = std::pin::pin!(ready);
        let first = tokio::select! {
            biased;
            ready = ready.as_mut() => return ready,
            ended = launched.as_mut() => ended,
        };
        match first {
            // It left something behind that runs on.
            Ok(end) if is_success(&end) => return ready.await,
            failed => failed,
        }
    };
    let command = start.command.as_deref().unwrap_or_default();
    Err(told("start", command, &ended, tail))
}

/// Repeats the ready command until it succeeds.
async fn until_ready(place: &Place<'_>, start: &Start, limits: Limits) -> Result<(), String> {
    let Some(command) = &start.ready else {
        if start.command.is_some() {
            tokio::time::sleep(limits.settle).await;
        }
        return Ok(());
    };
    let mut last = None;
    let attempts = async {
        let mut pauses = PAUSES_MS.iter().chain(std::iter::repeat(&PAUSES_MS[5]));
        loop {
            let mut tail = Tail::new(|_| {});
            let ended = call::run(place.dial, &place.process(command), |_, output| tail.push(output)).await;
            match ended {
                Ok(end) if is_success(&end) => return,
                failed => last = Some((failed, tail)),
            }
            tokio::time::sleep(Duration::from_millis(pauses.next().copied().unwrap_or(1000))).await;
        }
    };
    if tokio::time::timeout(limits.ready, attempts).await.is_ok() {
        return Ok(());
    }
    let within = format!("the ready command did not succeed within {} s", limits.ready.as_secs());
    match last {
        None => Err(format!("{within}: '{command}' did not end")),
        Some((ended, tail)) => Err(format!("{within}: {}", told("ready", command, &ended, tail))),
    }
}

/// How a command failed, in words.
fn told(which: &str, command: &str, ended: &Result<EndEvent, StepFailure>, tail: Tail) -> String {
    let how = match ended {
        Ok(end) => end.status.clone(),
        Err(error) => crate::error::chain(error),
    };
    let lines = tail.finish();
    let printed =
        if lines.is_empty() { String::new() } else { format!("; it printed: {}", lines.join(" | ")) };
    format!("the {which} command '{command}' failed: {how}{printed}")
}

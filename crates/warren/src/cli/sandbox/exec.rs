//! `warren sandbox exec`: a command in a sandbox as if it ran here: its output
//! goes to where ours goes, byte by byte, our input to it, its end is ours.

use std::io::{self, ErrorKind, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rustix::fs::FileType;
use sdk::{CommandEvent, CommandHandle, Config, Sandbox};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::form::{Form, print_json};
use super::super::{pieces, server};
use super::pair;
use super::terminal::{self, End};

/// What `timeout` of coreutils answers.
const TIMED_OUT: u8 = 124;

/// Options of `exec`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct Exec {
    /// The sandbox; one that sleeps is woken.
    id: String,
    /// Run as this user.
    #[arg(long, short)]
    user: Option<String>,
    /// Run in this directory.
    #[arg(long, short = 'w')]
    cwd: Option<String>,
    /// An environment variable for the command; may be repeated.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// End the command after so many seconds, with exit status 124.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Pass standard input on, also from a terminal; pipes and files are passed on anyway.
    #[arg(long, short)]
    interactive: bool,
    /// Leave standard input alone.
    #[arg(long, short = 'n', conflicts_with = "interactive")]
    no_stdin: bool,
    /// Give the command a terminal: this one; Ctrl-] leaves it running.
    #[arg(long, short, conflicts_with = "no_stdin")]
    tty: bool,
    /// Print the process's id and leave it running.
    #[arg(long, short, conflicts_with_all = ["tty", "interactive"])]
    background: bool,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    /// A shell inside reads the line: each word comes out of it unchanged.
    fn line(&self) -> String {
        self.command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    fn time(&self) -> Option<Duration> {
        self.timeout.map(Duration::from_secs)
    }

    /// Whether the command gets what comes at standard input.
    fn is_fed(&self) -> bool {
        !self.no_stdin && !self.background && (self.interactive || is_piped())
    }
}

/// Runs the command; ends with its exit status.
pub(super) async fn run(config: &Config, exec: Exec, form: Form) -> Result<ExitCode> {
    let sandbox = server::attach(config, &exec.id).await?;
    let ended = if exec.tty { in_terminal(&sandbox, &exec).await } else { here(&sandbox, &exec, form).await };
    match ended {
        Err(error) if exec.timeout.is_some() && is_timeout(&error) => {
            eprintln!("warren: the command was ended after its {} s", exec.timeout.unwrap_or_default());
            Ok(ExitCode::from(TIMED_OUT))
        }
        other => other,
    }
}

fn is_timeout(error: &anyhow::Error) -> bool {
    error.downcast_ref::<sdk::Error>().is_some_and(|error| error.kind() == sdk::ErrorKind::Timeout)
}

async fn here(sandbox: &Sandbox, exec: &Exec, form: Form) -> Result<ExitCode> {
    let fed = exec.is_fed();
    let handle = start(sandbox, exec, fed).await.context("start the command")?;
    if exec.background {
        let pid = handle.pid();
        if form.json {
            print_json(&serde_json::json!({ "pid": pid }))?;
        } else {
            println!("{pid}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if form.json {
        return collect(sandbox, handle, fed).await;
    }
    let (code, words) = follow(sandbox, handle, fed, |event| match event {
        CommandEvent::Stdout(data) | CommandEvent::Pty(data) => pass_on(&mut io::stdout(), data),
        CommandEvent::Stderr(data) => pass_on(&mut io::stderr(), data),
        CommandEvent::End { .. } => Ok(()),
    })
    .await?;
    Ok(status(code, words.as_deref()))
}

async fn in_terminal(sandbox: &Sandbox, exec: &Exec) -> Result<ExitCode> {
    if !terminal::is_one() {
        bail!("-t needs a terminal here; leave it out in scripts");
    }
    let mut command = sandbox.pty().create(terminal::size()).command(exec.line()).timeout(exec.time());
    if let Some(user) = &exec.user {
        command = command.user(user);
    }
    if let Some(cwd) = &exec.cwd {
        command = command.cwd(cwd);
    }
    for (name, value) in &exec.env {
        command = command.env(name, value);
    }
    let handle = command.await.context("start the command")?;
    let pid = handle.pid();
    match terminal::join(sandbox, handle).await? {
        End::Exit(code, words) => Ok(status(code, words.as_deref())),
        End::Detached => {
            eprintln!("\nDetached; it runs on: warren sandbox connect {} --pid {pid}", sandbox.id());
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn start(sandbox: &Sandbox, exec: &Exec, fed: bool) -> Result<CommandHandle, sdk::Error> {
    let mut command = sandbox.commands().run(exec.line()).timeout(exec.time()).discard_output();
    if let Some(user) = &exec.user {
        command = command.user(user);
    }
    if let Some(cwd) = &exec.cwd {
        command = command.cwd(cwd);
    }
    for (name, value) in &exec.env {
        command = command.env(name, value);
    }
    if fed {
        command = command.stdin();
    }
    command.background().await
}

/// Prints the whole outcome as one document.
async fn collect(sandbox: &Sandbox, handle: CommandHandle, fed: bool) -> Result<ExitCode> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (code, error) = follow(sandbox, handle, fed, |event| {
        match event {
            CommandEvent::Stdout(data) | CommandEvent::Pty(data) => stdout.extend_from_slice(data),
            CommandEvent::Stderr(data) => stderr.extend_from_slice(data),
            CommandEvent::End { .. } => {}
        }
        Ok(())
    })
    .await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    print_json(&serde_json::json!({
        "exitCode": code, "stdout": text(&stdout), "stderr": text(&stderr), "error": error,
    }))?;
    Ok(status(code, error.as_deref()))
}

/// Sees every event until the end: the status, and words where it was not well.
/// The first Ctrl-C asks the command to end, the second ends it.
async fn follow(
    sandbox: &Sandbox,
    mut handle: CommandHandle,
    fed: bool,
    mut see: impl FnMut(&CommandEvent) -> io::Result<()>,
) -> Result<(i32, Option<String>)> {
    let (mut interrupted, mut ended) = (signals(SignalKind::interrupt())?, signals(SignalKind::terminate())?);
    let pid = handle.pid();
    let feeding = feed(sandbox.clone(), pid, fed);
    tokio::pin!(feeding);
    let (mut is_feeding, mut asked) = (fed, false);
    loop {
        tokio::select! {
            event = handle.next() => {
                let Some(event) = event.context("follow the command")? else {
                    bail!("the command's stream ended before the command");
                };
                if let Err(error) = see(&event) {
                    return stop(&handle, error).await;
                }
                if let CommandEvent::End { exit_code, error } = event {
                    return Ok((exit_code, error));
                }
            }
            fed = &mut feeding, if is_feeding => {
                is_feeding = false;
                fed.context("pass standard input on")?;
            }
            _ = interrupted.recv() => asked = ask_to_end(&handle, asked).await?,
            _ = ended.recv() => asked = ask_to_end(&handle, asked).await?,
        }
    }
}

/// Where our output goes nobody reads any more (`… | head`): as it would be
/// here, the command ends of a broken pipe.
async fn stop(handle: &CommandHandle, error: io::Error) -> Result<(i32, Option<String>)> {
    handle.kill().await.context("end the command")?;
    if error.kind() == ErrorKind::BrokenPipe {
        return Ok((-1, Some("signal: broken pipe".to_owned())));
    }
    Err(error).context("write the command's output")
}

async fn ask_to_end(handle: &CommandHandle, asked: bool) -> Result<bool> {
    let done = if asked { handle.kill().await } else { handle.terminate().await };
    done.context("end the command")?;
    Ok(true)
}

fn signals(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("watch for signals")
}

/// Passes standard input on, piece by piece, and closes the command's.
async fn feed(sandbox: Sandbox, pid: u32, fed: bool) -> Result<(), sdk::Error> {
    if !fed {
        return Ok(());
    }
    let mut pieces = pieces::read(io::stdin());
    let commands = sandbox.commands();
    while let Some(Ok(piece)) = pieces.recv().await {
        // What it leaves unread it did not want: its end tells how it went.
        if commands.send_stdin(pid, piece).await.is_err() {
            return Ok(());
        }
    }
    // A command that has ended has no input to close.
    let _ = commands.close_stdin(pid).await;
    Ok(())
}

/// A pipe, a file or a socket: somebody put it there. A terminal or /dev/null is what there is anyway.
fn is_piped() -> bool {
    let stdin = io::stdin();
    !stdin.is_terminal()
        && rustix::fs::fstat(&stdin).is_ok_and(|stat| {
            matches!(
                FileType::from_raw_mode(stat.st_mode),
                FileType::Fifo | FileType::RegularFile | FileType::Socket
            )
        })
}

fn pass_on(to: &mut impl io::Write, data: &[u8]) -> io::Result<()> {
    to.write_all(data).and_then(|()| to.flush())
}

/// Our exit status for a command's: the same; after a signal 128 and its number, as shells say it.
pub(super) fn status(code: i32, words: Option<&str>) -> ExitCode {
    ExitCode::from(number(code, words))
}

fn number(code: i32, words: Option<&str>) -> u8 {
    if let Ok(code) = u8::try_from(code) {
        return code;
    }
    let Some(words) = words.and_then(|words| words.strip_prefix("signal: ")) else { return 255 };
    let words = words.trim_end_matches(" (core dumped)");
    let known = SIGNALS.iter().find(|(name, _)| *name == words).map(|(_, number)| *number);
    let known = known.or_else(|| words.strip_prefix("signal ")?.parse::<u8>().ok());
    known.and_then(|number| number.checked_add(128)).unwrap_or(255)
}

/// As daemons name signals.
const SIGNALS: [(&str, u8); 15] = [
    ("hangup", 1),
    ("interrupt", 2),
    ("quit", 3),
    ("illegal instruction", 4),
    ("trace/breakpoint trap", 5),
    ("aborted", 6),
    ("bus error", 7),
    ("floating point exception", 8),
    ("killed", 9),
    ("user defined signal 1", 10),
    ("segmentation fault", 11),
    ("user defined signal 2", 12),
    ("broken pipe", 13),
    ("alarm clock", 14),
    ("terminated", 15),
];

/// A word as the shell inside reads it back unchanged.
pub(in super::super) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn exit_statuses_are_those_of_a_shell() {
        assert_eq!([number(0, None), number(7, Some("exit status 7")), number(255, None)], [0, 7, 255]);
        assert_eq!(number(-1, Some("signal: killed")), 137);
        assert_eq!(number(-1, Some("signal: segmentation fault (core dumped)")), 139);
        assert_eq!(number(-1, Some("signal: signal 34")), 162);
        assert_eq!(number(-1, None), 255);
    }
}

//! `warren sandbox connect`: a shell in a sandbox, in this terminal.
//!
//! This terminal is raw while the shell runs: keys go through as they are typed,
//! but the detach key, which leaves the shell to itself. Whatever ends the
//! command, the terminal is put back.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rustix::termios::{self, OptionalActions, Termios};
use sdk::{CommandEvent, CommandHandle, Config, PtySize, Sandbox};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Ctrl-].
const DETACH: u8 = 0x1d;

/// Options of `connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The sandbox.
    id: String,
    /// Run the shell as this user.
    #[arg(long)]
    user: Option<String>,
    /// Start in this directory.
    #[arg(long)]
    cwd: Option<String>,
    /// Attach again to a shell that was detached from.
    #[arg(long, value_name = "PID", conflicts_with_all = ["user", "cwd"])]
    pid: Option<u32>,
}

/// This terminal in raw mode; dropping it puts the old mode back.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self> {
        let before = termios::tcgetattr(io::stdin()).context("read the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("make the terminal raw")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// How it ended.
enum End {
    Exit(i32),
    Detached,
}

/// Runs the command; ends with the shell's exit status.
pub(super) async fn run(config: &Config, connect: Connect) -> Result<ExitCode> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        bail!("connect needs a terminal; in scripts use `warren sandbox exec {} -- COMMAND`", connect.id);
    }
    let sandbox = Sandbox::connect(config, &connect.id, Duration::ZERO).await.context("find the sandbox")?;
    let handle = open(&sandbox, &connect).await?;
    let pid = handle.pid();
    eprintln!("Connected to {}. Ctrl-] detaches.", sandbox.id());
    let raw = Raw::enter()?;
    let end = talk(&sandbox, handle).await;
    drop(raw);
    match end? {
        End::Exit(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(255))),
        End::Detached => {
            let id = sandbox.id();
            eprintln!("\nDetached; the shell runs on: warren sandbox connect {id} --pid {pid}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn open(sandbox: &Sandbox, connect: &Connect) -> Result<CommandHandle> {
    if let Some(pid) = connect.pid {
        let handle = sandbox.commands().connect(pid).await.context("attach to the shell")?;
        // The new size also makes full-screen programs draw themselves anew.
        sandbox.pty().resize(pid, size()).await.context("attach to the shell")?;
        return Ok(handle);
    }
    let mut shell = sandbox.pty().create(size()).timeout(None);
    if let Some(user) = &connect.user {
        shell = shell.user(user);
    }
    if let Some(cwd) = &connect.cwd {
        shell = shell.cwd(cwd);
    }
    shell.await.context("start a shell")
}

/// Moves bytes both ways until the shell ends or the detach key is typed.
async fn talk(sandbox: &Sandbox, mut handle: CommandHandle) -> Result<End> {
    let mut typed = keyboard();
    let mut resized = signal(SignalKind::window_change()).context("watch for new sizes of the terminal")?;
    let pid = handle.pid();
    loop {
        tokio::select! {
            event = handle.next() => match event.context("follow the shell")? {
                Some(CommandEvent::End { exit_code, .. }) => return Ok(End::Exit(exit_code)),
                Some(CommandEvent::Pty(data) | CommandEvent::Stdout(data) | CommandEvent::Stderr(data)) => {
                    let mut out = io::stdout();
                    out.write_all(&data).and_then(|()| out.flush()).context("write to the terminal")?;
                }
                None => bail!("the shell's stream ended before the shell"),
            },
            Some(keys) = typed.recv() => {
                let (keys, detached) = until_detach(&keys);
                if !keys.is_empty() {
                    sandbox.pty().send_stdin(pid, keys.to_vec()).await.context("type into the shell")?;
                }
                if detached {
                    return Ok(End::Detached);
                }
            }
            Some(()) = resized.recv() => {
                sandbox.pty().resize(pid, size()).await.context("tell the new size")?;
            }
        }
    }
}

/// What was typed before the detach key, and whether that was typed.
fn until_detach(keys: &[u8]) -> (&[u8], bool) {
    match keys.iter().position(|key| *key == DETACH) {
        Some(at) => (&keys[..at], true),
        None => (keys, false),
    }
}

/// Keys as they come. The thread ends with the program: a read of a terminal
/// cannot be called off.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (keys, typed) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n) = io::stdin().lock().read(&mut buffer) {
            if n == 0 || keys.blocking_send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    typed
}

fn size() -> PtySize {
    let size = termios::tcgetwinsize(io::stdout());
    // A terminal that does not know its size is an old one.
    let (cols, rows) = size.map_or((80, 24), |size| (u32::from(size.ws_col), u32::from(size.ws_row)));
    PtySize { cols: if cols == 0 { 80 } else { cols }, rows: if rows == 0 { 24 } else { rows } }
}

#[cfg(test)]
mod tests {
    use super::until_detach;

    #[test]
    fn keys_before_the_detach_key_are_typed() {
        assert_eq!(until_detach(b"exit\r"), (&b"exit\r"[..], false));
        assert_eq!(until_detach(b"ab\x1dcd"), (&b"ab"[..], true));
        assert_eq!(until_detach(b"\x1d"), (&b""[..], true));
    }
}

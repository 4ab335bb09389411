//! This terminal joined to one in a sandbox.
//!
//! It is raw meanwhile: keys go through as they are typed, but the detach key,
//! which leaves the program inside to itself. Whatever ends the command, the
//! terminal is put back.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::termios::{self, OptionalActions, Termios};
use sdk::{CommandEvent, CommandHandle, PtySize, Sandbox};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Ctrl-].
const DETACH: u8 = 0x1d;

/// A sandbox with somebody at its terminal is kept alive: so often, for so long.
const KEEP_EVERY: Duration = Duration::from_secs(20);
const KEEP_FOR: Duration = Duration::from_mins(1);

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The program inside ended, with words where it was not well.
    Exit(i32, Option<String>),
    /// The detach key was typed.
    Detached,
}

/// Whether both sides of this program's terminal are one.
pub(super) fn is_one() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Joins the terminals until the program ends or the detach key is typed.
pub(super) async fn join(sandbox: &Sandbox, handle: CommandHandle) -> Result<End> {
    let raw = Raw::enter()?;
    let end = talk(sandbox, handle).await;
    drop(raw);
    end
}

/// This terminal's size.
pub(super) fn size() -> PtySize {
    let size = termios::tcgetwinsize(io::stdout());
    // A terminal that does not know its size is an old one.
    let (cols, rows) = size.map_or((80, 24), |size| (u32::from(size.ws_col), u32::from(size.ws_row)));
    PtySize { cols: if cols == 0 { 80 } else { cols }, rows: if rows == 0 { 24 } else { rows } }
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

/// Moves bytes both ways.
async fn talk(sandbox: &Sandbox, mut handle: CommandHandle) -> Result<End> {
    let mut typed = keyboard();
    let mut resized = signal(SignalKind::window_change()).context("watch for new sizes of the terminal")?;
    let mut alive = tokio::time::interval(KEEP_EVERY);
    let pid = handle.pid();
    loop {
        tokio::select! {
            event = handle.next() => match event.context("follow the program")? {
                Some(CommandEvent::End { exit_code, error }) => return Ok(End::Exit(exit_code, error)),
                Some(CommandEvent::Pty(data) | CommandEvent::Stdout(data) | CommandEvent::Stderr(data)) => {
                    let mut out = io::stdout();
                    out.write_all(&data).and_then(|()| out.flush()).context("write to the terminal")?;
                }
                None => bail!("the program's stream ended before the program"),
            },
            Some(keys) = typed.recv() => {
                let (keys, detached) = until_detach(&keys);
                if !keys.is_empty() {
                    sandbox.pty().send_stdin(pid, keys.to_vec()).await.context("type into the program")?;
                }
                if detached {
                    return Ok(End::Detached);
                }
            }
            Some(()) = resized.recv() => {
                sandbox.pty().resize(pid, size()).await.context("tell the new size")?;
            }
            // It lives at least so long from now, and never shorter than before. Where that is refused,
            // at its longest life, its own end comes.
            _ = alive.tick() => drop(Sandbox::connect(sandbox.config(), sandbox.id(), KEEP_FOR).await),
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

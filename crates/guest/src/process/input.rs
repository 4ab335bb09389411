//! What can be written to a process, and how its terminal is resized.

use std::io;
use std::rc::Rc;

use rustix::termios::{Winsize, tcsetwinsize};
use tokio::sync::Mutex;
use wire::process::{ProcessInput, PtySize};

use super::endpoint::Endpoint;

/// Where a process takes its input from.
#[derive(Debug)]
pub(crate) enum Input {
    /// A pipe; taken away when it is closed. The lock keeps writes whole.
    Pipe(Mutex<Option<Endpoint>>),
    /// Nothing: it reads the end of file.
    Nothing,
    /// A terminal; also its output.
    Pty(Rc<Endpoint>, Mutex<()>),
}

/// Input was refused or could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The process has a terminal, so it has no input pipe.
    #[error("tty assigned to process")]
    HasTerminal,
    /// The process has no terminal.
    #[error("tty not assigned to process")]
    NoTerminal,
    /// There is no pipe, or no longer.
    #[error("error writing to stdin: stdin not enabled or closed")]
    Closed,
    /// A terminal has no end of file of its own.
    #[error("error closing stdin: cannot close stdin for PTY process, send Ctrl+D (0x04) instead")]
    CannotClose,
    /// The message held neither kind of input.
    #[error("input type is not supported")]
    Unset,
    /// The process does not read any more.
    #[error("error writing to stdin: {0}")]
    Io(#[from] io::Error),
}

impl Input {
    /// Writes all of `input`; waits as long as the process does not read.
    pub(crate) async fn write(&self, input: &ProcessInput) -> Result<(), InputError> {
        match (self, input) {
            (_, ProcessInput::Unset) => Err(InputError::Unset),
            (Self::Pipe(pipe), ProcessInput::Stdin(bytes)) => {
                let pipe = pipe.lock().await;
                Ok(pipe.as_ref().ok_or(InputError::Closed)?.write_all(bytes).await?)
            }
            (Self::Nothing, ProcessInput::Stdin(_)) => Err(InputError::Closed),
            (Self::Pty(..), ProcessInput::Stdin(_)) => Err(InputError::HasTerminal),
            (Self::Pty(pty, whole), ProcessInput::Pty(bytes)) => {
                let _whole = whole.lock().await;
                Ok(pty.write_all(bytes).await?)
            }
            (Self::Pipe(_) | Self::Nothing, ProcessInput::Pty(_)) => Err(InputError::NoTerminal),
        }
    }

    /// Lets the process read the end of file, after what is being written.
    pub(crate) async fn close(&self) -> Result<(), InputError> {
        match self {
            Self::Pipe(pipe) => {
                pipe.lock().await.take();
                Ok(())
            }
            Self::Nothing => Ok(()),
            Self::Pty(..) => Err(InputError::CannotClose),
        }
    }

    /// Sets the terminal's size; the process gets SIGWINCH.
    pub(crate) fn resize(&self, size: PtySize) -> Result<(), InputError> {
        match self {
            Self::Pty(pty, _) => Ok(tcsetwinsize(pty.fd(), winsize(size)).map_err(io::Error::from)?),
            Self::Pipe(_) | Self::Nothing => Err(InputError::NoTerminal),
        }
    }
}

/// The kernel's form of a size; what does not fit becomes the largest that does.
pub(super) fn winsize(size: PtySize) -> Winsize {
    let fit = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Winsize { ws_row: fit(size.rows), ws_col: fit(size.cols), ws_xpixel: 0, ws_ypixel: 0 }
}

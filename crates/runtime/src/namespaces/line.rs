//! The server's line to its launcher: one request at a time, and a new launcher
//! when the old one is lost.
//!
//! A launcher is lost when it died (the kernel short of memory may choose it) or
//! did not answer in time. It is never asked again then: an answer that comes
//! late would be taken for that of the next request.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message;

/// A clone takes about a millisecond; a launcher that is silent for this long is lost.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A launcher that said it is ready.
#[derive(Debug)]
pub(super) struct Line {
    socket: OwnedFd,
    pid: Pid,
}

impl Line {
    /// Waits until the launcher at the other end is ready.
    pub(super) fn open(socket: OwnedFd, pid: Pid) -> io::Result<Self> {
        let line = Self { socket, pid };
        message::set_deadline(line.socket.as_fd(), ANSWER_LIMIT)?;
        match message::receive::<Result<(), String>>(&line.socket)? {
            Some((Ok(()), _)) => Ok(line),
            Some((Err(reason), _)) => Err(io::Error::other(reason)),
            None => Err(io::Error::other(format!("the launcher (process {pid}) died at its start"))),
        }
    }

    /// Starts a launcher as a program of its own: this process has threads by
    /// now, so a copy of it would not do. The program finds its end of the line
    /// as its standard input.
    pub(super) fn redial(program: fn() -> Command) -> io::Result<Self> {
        let (ours, theirs) = message::pair()?;
        let child = program().stdin(Stdio::from(theirs)).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        Self::open(ours, pid)
    }

    /// One request and its answer. Any error means that the launcher is lost.
    pub(super) fn ask<A: DeserializeOwned>(
        &self,
        request: &impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<(A, Vec<OwnedFd>)> {
        message::send(&self.socket, request, fds)?;
        let answer = message::receive(&self.socket)?;
        answer.ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the launcher is gone"))
    }
}

impl Drop for Line {
    /// Ends a launcher that may hang, and leaves no zombie. What it cloned lives on.
    fn drop(&mut self) {
        // Its id cannot be another's yet: it is our child and nobody has waited for it.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

//! The daemon's side of the exec helper.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::helper::HELPER_ARG;
use super::request::{MAX_MESSAGE, Reply, Request};

/// A helper that has not answered for this long is replaced: a user may have stopped it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The request is to blame: its directory, or a zero byte in a string.
    #[error("{0}")]
    Refused(String),
    /// The sandbox is to blame: no more processes, no memory.
    #[error("{0}")]
    Failed(String),
    /// The helper did not work.
    #[error("exec helper")]
    Helper(#[source] io::Error),
}

/// Starts processes, one after another. Dropping a `launch` half-way would leave
/// the conversation out of step: callers run it in a task of its own.
#[derive(Debug)]
pub(crate) struct Launcher {
    binary: PathBuf,
    helper: Mutex<Option<Helper>>,
}

#[derive(Debug)]
struct Helper {
    socket: UnixStream,
    pid: Option<Pid>,
}

impl Launcher {
    /// Uses `binary` as the helper. It is started by [`Launcher::ensure_helper`]
    /// or by the first launch.
    pub(crate) fn new(binary: PathBuf) -> Self {
        Self { binary, helper: Mutex::new(None) }
    }

    /// Starts the helper if there is none.
    pub(crate) async fn ensure_helper(&self) -> io::Result<()> {
        let mut helper = self.helper.lock().await;
        if helper.is_none() {
            *helper = Some(Helper::start(&self.binary)?);
        }
        Ok(())
    }

    /// Starts a process with these standard descriptors and returns its id. The
    /// daemon is its parent.
    pub(crate) async fn launch(&self, request: &Request, stdio: [OwnedFd; 3]) -> Result<Pid, LaunchError> {
        let payload = serde_json::to_vec(request).map_err(|e| LaunchError::Helper(e.into()))?;
        if payload.len() > MAX_MESSAGE {
            return Err(LaunchError::Refused("argument list too long".to_owned()));
        }
        let mut slot = self.helper.lock().await;
        let mut helper = match slot.take() {
            Some(helper) => helper,
            None => Helper::start(&self.binary).map_err(LaunchError::Helper)?,
        };
        // Only an unsent request may be sent again: one that was sent may have had its effect.
        if timeout(PATIENCE, helper.send(&payload, &stdio))
            .await
            .unwrap_or_else(|_| Err(timed_out()))
            .is_err()
        {
            helper.replace(&self.binary).map_err(LaunchError::Helper)?;
            helper.send(&payload, &stdio).await.map_err(LaunchError::Helper)?;
        }
        drop(stdio);
        match timeout(PATIENCE, helper.receive()).await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(reply) => {
                *slot = Some(helper);
                reply.into_result()
            }
            Err(error) => {
                helper.kill();
                Err(LaunchError::Helper(error))
            }
        }
    }
}

impl Reply {
    fn into_result(self) -> Result<Pid, LaunchError> {
        match self {
            Self::Started { pid } => {
                Pid::from_raw(pid).ok_or_else(|| LaunchError::Helper(io::Error::other("no process id")))
            }
            Self::Failed { refused: true, message } => Err(LaunchError::Refused(message)),
            Self::Failed { refused: false, message } => Err(LaunchError::Failed(message)),
        }
    }
}

impl Helper {
    fn start(binary: &PathBuf) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        // Its end is seen when the socket closes; the reaper takes its status with all others.
        let child = Command::new(binary)
            .arg(HELPER_ARG)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        ours.set_nonblocking(true)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self { socket: UnixStream::from_std(ours)?, pid })
    }

    fn replace(&mut self, binary: &PathBuf) -> io::Result<()> {
        self.kill();
        *self = Self::start(binary)?;
        Ok(())
    }

    /// A helper that was reaped and whose id was given to another process is not
    /// hit in practice: ids come round only after tens of thousands of starts.
    fn kill(&mut self) {
        if let Some(pid) = self.pid.take() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    async fn send(&mut self, payload: &[u8], stdio: &[OwnedFd; 3]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?.to_ne_bytes();
        let socket = &self.socket;
        socket
            .async_io(Interest::WRITABLE, || {
                let fds = [stdio[0].as_fd(), stdio[1].as_fd(), stdio[2].as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&fds));
                Ok(sendmsg(socket, &[IoSlice::new(&len)], &mut control, SendFlags::NOSIGNAL)?)
            })
            .await?;
        self.socket.write_all(payload).await
    }

    async fn receive(&mut self) -> io::Result<Reply> {
        let mut len = [0; 4];
        self.socket.read_exact(&mut len).await?;
        let len = u32::from_ne_bytes(len) as usize;
        if len > MAX_MESSAGE {
            return Err(io::Error::other("malformed reply"));
        }
        let mut payload = vec![0; len];
        self.socket.read_exact(&mut payload).await?;
        serde_json::from_slice(&payload).map_err(io::Error::other)
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer")
}

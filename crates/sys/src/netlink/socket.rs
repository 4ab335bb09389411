//! One conversation with the kernel's route netlink, bounded in time.
//!
//! The socket belongs to the network namespace of the thread that opens it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::message::{Answer, Batch, Needed, answers, u32_at};

const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The kernel answers at once, unless somebody holds the network lock for long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A dump answers with at most this much at a time.
const BUFFER: usize = 32 * 1024;

/// The kernel refused a step.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct Error {
    /// The step in words, for example `creating the veth pair`.
    pub step: &'static str,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Error {
    fn new(step: &'static str, source: impl Into<io::Error>) -> Self {
        Self { step, source: source.into() }
    }

    /// Whether the thing to make is there already.
    pub fn is_exists(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EEXIST | libc::EBUSY))
    }

    /// Whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH))
    }
}

/// An open conversation.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open() -> Result<Self, Error> {
        // Protocol 0 of this family is the route one.
        Self::open_protocol(None)
    }

    /// The protocol that tells of sockets.
    pub(super) fn of_sockets() -> Result<Self, Error> {
        Self::open_protocol(Some(rustix::net::netlink::SOCK_DIAG))
    }

    fn open_protocol(protocol: Option<rustix::net::Protocol>) -> Result<Self, Error> {
        let step = "opening a netlink socket";
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(|e| Error::new(step, e))?;
        set_socket_timeout(&fd, Timeout::Recv, Some(TIMEOUT)).map_err(|e| Error::new(step, e))?;
        Ok(Self(fd))
    }

    /// Sends a batch and waits for the answer to each message. The kernel works
    /// through all of them whatever fails; the first needed one that failed is
    /// the error. `Answer`s that are no acknowledgement go to `each`.
    pub(super) fn run(&self, batch: &Batch, mut each: impl FnMut(&Answer<'_>)) -> Result<(), Error> {
        let steps = batch.steps();
        let first = steps.first().map_or("talking to netlink", |(step, _)| *step);
        sendto(&self.0, batch.bytes(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
            .map_err(|e| Error::new(first, e))?;
        let mut waiting = steps.len();
        let mut outcome = Ok(());
        let mut buffer = vec![0_u8; BUFFER];
        while waiting > 0 {
            let (filled, n) = match recv(&self.0, &mut buffer[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                other => other.map_err(|e| Error::new(first, e))?,
            };
            if n > filled {
                return Err(Error::new(first, Errno::MSGSIZE));
            }
            for answer in answers(&buffer[..filled]) {
                let Some((step, needed)) = index(answer.sequence).and_then(|i| steps.get(i)) else {
                    continue;
                };
                match verdict(&answer) {
                    None => each(&answer),
                    Some(Ok(())) => waiting -= 1,
                    Some(Err(source)) => {
                        waiting -= 1;
                        if *needed == Needed::Yes && outcome.is_ok() {
                            outcome = Err(Error::new(step, source));
                        }
                    }
                }
            }
        }
        outcome
    }
}

fn index(sequence: u32) -> Option<usize> {
    usize::try_from(sequence).ok()
}

/// What an answer says about its message; `None` for one that carries data.
fn verdict(answer: &Answer<'_>) -> Option<io::Result<()>> {
    match answer.kind {
        DONE => Some(Ok(())),
        ERROR => match u32_at(answer.body, 0).map_or(-libc::EPROTO, u32::cast_signed) {
            0 => Some(Ok(())),
            code => Some(Err(io::Error::from_raw_os_error(code.saturating_neg()))),
        },
        _ => None,
    }
}

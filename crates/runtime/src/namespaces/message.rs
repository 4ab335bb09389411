//! Messages between the server, the launcher and a machine's first process
//! before it is one: JSON with descriptors, one datagram each.
//!
//! All three are our own code of the same build; the limits only keep a mistake
//! from turning into a hang.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message; the default socket buffer holds it.
const LONGEST: usize = 128 * 1024;

/// The kernel passes no more descriptors at once (`SCM_MAX_FD`).
pub(super) const MOST_DESCRIPTORS: usize = 253;

/// Two connected ends. Both close on `exec`.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

/// Lets no send or receive on this end block longer than `limit`.
pub(super) fn set_deadline(socket: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    for which in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(socket, which, Some(limit))?;
    }
    Ok(())
}

/// Sends one message.
pub(super) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > LONGEST || fds.len() > MOST_DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits, "the space is made for the most descriptors");
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message; `None` when the other end is closed.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message was cut"));
    }
    Ok(Some((serde_json::from_slice(&bytes[..got.bytes])?, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn carries_values_and_descriptors_and_sees_the_end() {
        let (a, b) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&write, b"x").unwrap();
        send(&a, &("hello", 3), &[read.as_fd()]).unwrap();
        let ((text, n), mut fds): ((String, u32), _) = receive(&b).unwrap().unwrap();
        assert_eq!((text.as_str(), n, fds.len()), ("hello", 3, 1));
        let mut byte = [0];
        std::fs::File::from(fds.remove(0)).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop(a);
        assert!(receive::<()>(&b).unwrap().is_none());
    }

    #[test]
    fn waits_no_longer_than_the_deadline() {
        let (a, _b) = pair().unwrap();
        set_deadline(a.as_fd(), Duration::from_millis(20)).unwrap();
        assert_eq!(receive::<()>(&a).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

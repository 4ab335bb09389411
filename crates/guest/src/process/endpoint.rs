//! The daemon's end of a pipe or terminal.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Largest piece of output of a pipe.
pub(super) const PIPE_CHUNK: usize = 32 << 10;
/// Largest piece of output of a terminal.
pub(super) const PTY_CHUNK: usize = 16 << 10;

thread_local! {
    /// All endpoints read into this one; what was read is copied out at its true size.
    static SCRATCH: RefCell<[u8; PIPE_CHUNK]> = const { RefCell::new([0; PIPE_CHUNK]) };
}

/// A descriptor that never blocks.
#[derive(Debug)]
pub(crate) struct Endpoint {
    fd: AsyncFd<OwnedFd>,
    chunk: usize,
}

impl Endpoint {
    /// Our end of a pipe.
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd, PIPE_CHUNK)
    }

    /// The master of a terminal.
    pub(super) fn pty(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd, PTY_CHUNK)
    }

    fn new(fd: OwnedFd, chunk: usize) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd cannot be closed under it")]
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, chunk })
    }

    /// The next piece of output; empty at the end. Cancel-safe: what was read is returned.
    pub(crate) async fn read(&self) -> io::Result<Bytes> {
        self.fd.async_io(Interest::READABLE, |fd| self.read_from(fd)).await
    }

    /// What is there now; `WouldBlock` if nothing is.
    pub(super) fn read_now(&self) -> io::Result<Bytes> {
        self.read_from(self.fd.get_ref())
    }

    fn read_from(&self, fd: &OwnedFd) -> io::Result<Bytes> {
        SCRATCH.with_borrow_mut(|scratch| match rustix::io::read(fd, &mut scratch[..self.chunk]) {
            Ok(n) => Ok(Bytes::copy_from_slice(&scratch[..n])),
            // A terminal whose last user has gone.
            Err(Errno::IO) => Ok(Bytes::new()),
            Err(errno) => Err(errno.into()),
        })
    }

    /// Writes everything. Dropping the future may leave a part written.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self.fd.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?)).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// The descriptor, for terminal controls.
    pub(super) fn fd(&self) -> &OwnedFd {
        self.fd.get_ref()
    }
}

//! The client's half of ZMTP 3.0 over Unix sockets: enough to talk to a kernel.
//!
//! A greeting and a READY command each way, then messages of one or more frames.
//! No security mechanism: the sockets lie in a directory of their owner's. The
//! reader takes memory for a frame only after its announced length passed a
//! limit; it skips what is larger, keeping the frames before it, and gives up on
//! lengths that no honest peer sends.
//!
//! Reference: `ZeroMQ` RFC 23.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Socket types that a Jupyter client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests and their replies.
    Dealer,
    /// Broadcasts; every topic is subscribed to.
    Sub,
}

/// A message: its frames, and how much of it was left out for its size.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) frames: Vec<Bytes>,
    pub(super) skipped: u64,
}

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

const GREETING_LEN: usize = 64;
const READ_AHEAD: usize = 16 << 10;
/// Frames of one message that are kept; Jupyter needs seven. More are skipped.
const MAX_FRAMES: usize = 64;
const MAX_COMMAND: u64 = 64 << 10;

/// A frame longer than this is not skipped: the connection is given up.
const ABSURD: u64 = 4 << 30;

/// Connects and shakes hands.
pub(super) async fn connect(path: &Path, kind: Kind, max_message: u64) -> io::Result<(Reader, Writer)> {
    let (read, write) = UnixStream::connect(path).await?.into_split();
    let mut writer = Writer { write };
    let mut reader = Reader { read, buffer: BytesMut::with_capacity(16 << 10), max_message };
    writer.write.write_all(&greeting()).await?;
    reader.greeting().await?;
    writer.write.write_all(&ready(kind)).await?;
    reader.command().await?;
    if kind == Kind::Sub {
        writer.send(&[b"\x01"]).await?;
    }
    Ok((reader, writer))
}

fn greeting() -> [u8; GREETING_LEN] {
    let mut bytes = [0; GREETING_LEN];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

fn ready(kind: Kind) -> Vec<u8> {
    let name: &[u8] = match kind {
        Kind::Dealer => b"DEALER",
        Kind::Sub => b"SUB",
    };
    let mut body = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
    // At most six bytes, so both lengths fit their single byte.
    body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    body.extend_from_slice(name);
    let mut frame = vec![COMMAND, u8::try_from(body.len()).unwrap_or(u8::MAX)];
    frame.extend_from_slice(&body);
    frame
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Writer {
    write: OwnedWriteHalf,
}

impl Writer {
    /// Sends one message in one write. Not cancel-safe: a dropped send may leave
    /// half a message on the wire.
    pub(super) async fn send(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        let mut wire = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 9).sum());
        for (index, frame) in frames.iter().enumerate() {
            let more = if index + 1 < frames.len() { MORE } else { 0 };
            if let Ok(length) = u8::try_from(frame.len()) {
                wire.extend_from_slice(&[more, length]);
            } else {
                wire.push(more | LONG);
                wire.extend_from_slice(&(frame.len() as u64).to_be_bytes());
            }
            wire.extend_from_slice(frame);
        }
        self.write.write_all(&wire).await
    }
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct Reader {
    read: OwnedReadHalf,
    buffer: BytesMut,
    max_message: u64,
}

impl Reader {
    /// The next message; an error when the peer is gone or breaks the protocol.
    /// Not cancel-safe.
    pub(super) async fn receive(&mut self) -> io::Result<Parts> {
        let mut parts = Parts::default();
        let mut total = 0;
        loop {
            let (flags, length) = self.header().await?;
            if flags & COMMAND != 0 {
                self.skip(bounded(length, MAX_COMMAND)?).await?;
                continue;
            }
            total += bounded(length, ABSURD)?;
            if parts.frames.len() == MAX_FRAMES {
                self.skip(length).await?;
                parts.skipped += length;
            } else if total > self.max_message {
                self.skip(length).await?;
                parts.skipped += length;
                parts.frames.push(Bytes::new());
            } else {
                parts.frames.push(self.take(length).await?);
            }
            if flags & MORE == 0 {
                return Ok(parts);
            }
        }
    }

    async fn greeting(&mut self) -> io::Result<()> {
        let bytes = self.take(GREETING_LEN as u64).await?;
        if bytes[0] != 0xff || bytes[9] & 1 != 1 || bytes[10] < 3 {
            return Err(broken("no ZMTP 3 greeting"));
        }
        if !bytes[12..32].starts_with(b"NULL\0") {
            return Err(broken("another security mechanism than NULL"));
        }
        Ok(())
    }

    /// The peer's READY. What it says of itself is of no use here.
    async fn command(&mut self) -> io::Result<()> {
        let (flags, length) = self.header().await?;
        if flags & COMMAND == 0 {
            return Err(broken("a message before the handshake"));
        }
        let body = self.take(bounded(length, MAX_COMMAND)?).await?;
        if body.starts_with(b"\x05READY") { Ok(()) } else { Err(broken("the handshake was refused")) }
    }

    async fn header(&mut self) -> io::Result<(u8, u64)> {
        let flags = self.take(1).await?[0];
        let length = if flags & LONG == 0 {
            u64::from(self.take(1).await?[0])
        } else {
            let bytes = self.take(8).await?;
            bytes.iter().fold(0, |length, byte| (length << 8) | u64::from(*byte))
        };
        Ok((flags, length))
    }

    /// Exactly `length` bytes; the caller bounded it.
    async fn take(&mut self, length: u64) -> io::Result<Bytes> {
        let length = usize::try_from(length).map_err(|_| broken("a frame larger than memory"))?;
        if self.buffer.len() < length {
            // Room beyond the frame, so that its tail and the next header need no
            // read of their own and never move a large frame.
            self.buffer.reserve(length - self.buffer.len() + READ_AHEAD);
        }
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn skip(&mut self, length: u64) -> io::Result<()> {
        let mut left = length;
        loop {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            _ = self.buffer.split_to(here);
            left -= here as u64;
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(READ_AHEAD);
        }
        match self.read.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn bounded(length: u64, limit: u64) -> io::Result<u64> {
    if length > limit { Err(broken("a frame of absurd length")) } else { Ok(length) }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
#[path = "zmtp_tests.rs"]
mod tests;

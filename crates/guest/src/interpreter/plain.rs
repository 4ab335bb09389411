//! What the kernels of our own speak: frames on one Unix socket.
//!
//! `KIND ID LENGTH\n` and so many bytes, both ways. The kinds and contents that a
//! kernel sends are Jupyter's; one ordered stream carries replies and output, so
//! none of the care is needed that two sockets ask for. The kernel listens, and
//! takes one connection in its life. Memory for a frame is taken only after its
//! announced length passed a limit, as in [`zmtp`](super::zmtp).

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// A frame from a kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: String,
    /// The request that it belongs to.
    pub(super) id: String,
    pub(super) payload: Bytes,
    /// How much of it was left out for its size.
    pub(super) skipped: u64,
}

const MAX_HEADER: u64 = 256;

/// A frame longer than this is not skipped: the connection is given up.
const ABSURD: u64 = 4 << 30;

/// Connects; a kernel that accepts is ready.
pub(super) async fn connect(path: &Path, max_payload: u64) -> io::Result<(Reader, Writer)> {
    let (read, write) = UnixStream::connect(path).await?.into_split();
    Ok((Reader { read: BufReader::with_capacity(64 << 10, read), max_payload }, Writer { write }))
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Writer {
    write: OwnedWriteHalf,
}

impl Writer {
    /// Sends one frame. Not cancel-safe: a dropped send may leave half a frame.
    pub(super) async fn send(&mut self, kind: &str, id: &str, payload: &[u8]) -> io::Result<()> {
        let mut wire = format!("{kind} {id} {}\n", payload.len()).into_bytes();
        wire.extend_from_slice(payload);
        self.write.write_all(&wire).await
    }
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct Reader {
    read: BufReader<OwnedReadHalf>,
    max_payload: u64,
}

impl Reader {
    /// The next frame; an error when the peer is gone or breaks the protocol. Not
    /// cancel-safe.
    pub(super) async fn receive(&mut self) -> io::Result<Frame> {
        let mut header = Vec::new();
        (&mut self.read).take(MAX_HEADER).read_until(b'\n', &mut header).await?;
        if header.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (kind, id, length) = parse(&header).ok_or_else(|| broken("no header of a frame"))?;
        if length > ABSURD {
            return Err(broken("a frame of absurd length"));
        }
        if length > self.max_payload {
            tokio::io::copy(&mut (&mut self.read).take(length), &mut tokio::io::sink()).await?;
            return Ok(Frame { kind, id, payload: Bytes::new(), skipped: length });
        }
        let length = usize::try_from(length).map_err(|_| broken("a frame larger than memory"))?;
        let mut payload = BytesMut::zeroed(length);
        self.read.read_exact(&mut payload).await?;
        Ok(Frame { kind, id, payload: payload.freeze(), skipped: 0 })
    }
}

fn parse(header: &[u8]) -> Option<(String, String, u64)> {
    let line = std::str::from_utf8(header.strip_suffix(b"\n")?).ok()?;
    let mut words = line.split(' ');
    let (kind, id, length) = (words.next()?, words.next()?, words.next()?);
    Some((kind.to_owned(), id.to_owned(), length.parse().ok()?)).filter(|_| words.next().is_none())
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader with a limit of ten bytes makes of `wire`.
    fn received(wire: &[u8]) -> Vec<io::Result<Frame>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let (read, _write) = ours.into_split();
            let mut reader = Reader { read: BufReader::new(read), max_payload: 10 };
            theirs.write_all(wire).await.unwrap();
            drop(theirs);
            let mut frames = Vec::new();
            while frames.last().is_none_or(Result::is_ok) {
                frames.push(reader.receive().await);
            }
            frames
        })
    }

    #[test]
    fn frames_follow_each_other_and_large_ones_are_skipped() {
        let frames = received(b"stream 7 3\nabcdisplay_data 7 11\n01234567890status - 0\n");
        let frame = |kind: &str, id: &str, payload: &'static [u8], skipped| Frame {
            kind: kind.to_owned(),
            id: id.to_owned(),
            payload: Bytes::from_static(payload),
            skipped,
        };
        assert_eq!(*frames[0].as_ref().unwrap(), frame("stream", "7", b"abc", 0));
        assert_eq!(*frames[1].as_ref().unwrap(), frame("display_data", "7", b"", 11));
        assert_eq!(*frames[2].as_ref().unwrap(), frame("status", "-", b"", 0));
        assert_eq!(frames[3].as_ref().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nonsense_ends_the_connection() {
        let endless = [b'x'; 1000];
        for wire in [&b"a b\n"[..], b"a b c\n", b"a b -1\n", b"a b 9999999999999\n", b"a b 1 1\n", &endless] {
            assert_eq!(
                received(wire)[0].as_ref().unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{wire:?}"
            );
        }
        assert_eq!(received(b"a b 5\nxy")[0].as_ref().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

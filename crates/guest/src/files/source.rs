//! Bodies of downloads: a file, or pieces of it, read by a thread while it is sent.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::wanted::Range;
use crate::http::Body;
use crate::process::Endpoint;

/// Files up to this size are read at once.
pub(super) const SMALL: u64 = 64 << 10;
/// Longer ones in pieces of this size.
const PIECE: usize = 256 << 10;

/// What is sent one after the other: bytes of ours before a range, and the range.
pub(super) type Section = (Bytes, Range);

/// Opens without waiting for anybody: a pipe's other end may never come, and the
/// file may be changed for a pipe at any moment.
pub(super) fn open(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(never_wait()).open(path)
}

/// Flags that keep an open from waiting and from taking a terminal over.
pub(super) fn never_wait() -> i32 {
    (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed()
}

/// A small file, all of it.
pub(super) fn small(file: File, len: u64) -> io::Result<Body> {
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(Body::from(bytes))
}

/// All that a reader gives, to its end; `len` if it is known.
pub(super) fn whole(reader: impl Read + Send + 'static, len: Option<u64>) -> Body {
    let (sender, body) = Body::pieces(len);
    tokio::task::spawn_blocking(move || send_all(reader, len, &sender));
    body
}

/// Sections of a file, then `tail`.
pub(super) fn sections(mut file: File, sections: Vec<Section>, tail: Bytes) -> Body {
    let len = sections.iter().map(|(before, range)| before.len() as u64 + range.len).sum::<u64>();
    let len = len + tail.len() as u64;
    let (sender, body) = Body::pieces(Some(len));
    tokio::task::spawn_blocking(move || {
        for (before, range) in sections {
            if !send(&sender, Ok(before)) {
                return;
            }
            let sent = match file.seek(SeekFrom::Start(range.start)) {
                Ok(_) => send_all(&mut file, Some(range.len), &sender),
                Err(error) => send(&sender, Err(error)),
            };
            if !sent {
                return;
            }
        }
        send(&sender, Ok(tail));
    });
    body
}

/// What comes out of a named pipe, until its writers have gone. Holds no thread:
/// it may be silent for ever.
pub(super) fn pipe(file: File) -> io::Result<Body> {
    let endpoint = Endpoint::pipe(file.into())?;
    let (sender, body) = Body::channel();
    spawn_local(async move {
        loop {
            let read = tokio::select! {
                read = endpoint.read() => read,
                () = sender.closed() => return,
            };
            let last = !read.as_ref().is_ok_and(|piece| !piece.is_empty());
            let at_end = read.as_ref().is_ok_and(Bytes::is_empty);
            if at_end || sender.send(read).await.is_err() || last {
                return;
            }
        }
    });
    Ok(body)
}

/// Sends `len` bytes, or to the end; whether all is well. A file that ends early
/// cuts the connection: its length was promised.
fn send_all(mut reader: impl Read, len: Option<u64>, sender: &mpsc::Sender<io::Result<Bytes>>) -> bool {
    let mut left = len.unwrap_or(u64::MAX);
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = Vec::with_capacity(n);
        match reader.by_ref().take(n as u64).read_to_end(&mut piece) {
            Ok(0) if len.is_some() => return send(sender, Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return send(sender, Err(error)),
        }
        left -= piece.len() as u64;
        if !send(sender, Ok(piece.into())) {
            return false;
        }
    }
    true
}

/// Whether there is reason to go on: no error, and a client that is still there.
fn send(sender: &mpsc::Sender<io::Result<Bytes>>, piece: io::Result<Bytes>) -> bool {
    match piece {
        Ok(piece) => piece.is_empty() || sender.blocking_send(Ok(piece)).is_ok(),
        Err(error) => {
            // Whoever still reads is to see that something is missing.
            let _ = sender.blocking_send(Err(error));
            false
        }
    }
}

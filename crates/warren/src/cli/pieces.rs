//! Bytes of this machine as they come, at most a megabyte of them in memory.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// A piece, and how many wait for the sandbox to take them; then reading waits.
const PIECE: usize = 256 * 1024;
const WAITING: usize = 4;

/// What a source gives, up to its end or its first error. A thread of its own
/// reads: a read of a pipe cannot be called off.
pub(super) fn read(mut from: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Bytes>> {
    let (pieces, taken) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => Ok(Bytes::copy_from_slice(&buffer[..n])),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            let is_last = piece.is_err();
            if pieces.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    });
    taken
}

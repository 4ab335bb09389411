//! Writing an upload: in one system call if it is small, by a thread if not.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::process::Endpoint;

/// What is kept back in the hope that it is all: small files are written by one
/// call, which is one event for watchers.
const SMALL: usize = 256 << 10;
/// Pieces that wait for the thread; a full queue stops reading from the client.
const QUEUE: usize = 4;

/// The way of a file's content to the disk.
#[derive(Debug)]
pub(super) enum Writer {
    /// So far small.
    Gathering { file: File, pieces: Vec<Bytes>, len: usize },
    /// A named pipe, whose reader may let everybody wait.
    Pipe(Endpoint),
    /// A thread writes.
    Streaming { pieces: mpsc::Sender<Bytes>, thread: JoinHandle<io::Result<()>> },
    /// It failed before; the error was told.
    Failed,
}

impl Writer {
    /// Writes to `file`.
    pub(super) fn new(file: File) -> io::Result<Self> {
        if file.metadata()?.file_type().is_fifo() {
            return Endpoint::pipe(file.into()).map(Self::Pipe);
        }
        Ok(Self::Gathering { file, pieces: Vec::new(), len: 0 })
    }

    /// Takes the next piece.
    pub(super) async fn push(&mut self, piece: Bytes) -> io::Result<()> {
        match self {
            Self::Gathering { pieces, len, .. } => {
                *len += piece.len();
                pieces.push(piece);
                if *len > SMALL {
                    self.start_thread();
                }
                Ok(())
            }
            Self::Pipe(pipe) => pipe.write_all(&piece).await,
            Self::Streaming { pieces, .. } => match pieces.send(piece).await {
                Ok(()) => Ok(()),
                // The thread stops only for an error, which `finish` fetches.
                Err(_) => std::mem::replace(self, Self::Failed).finish().await,
            },
            Self::Failed => Err(io::Error::other("the file could not be written")),
        }
    }

    /// Returns when everything is written.
    pub(super) async fn finish(self) -> io::Result<()> {
        match self {
            Self::Gathering { mut file, pieces, .. } => match &pieces[..] {
                [] => Ok(()),
                [only] => file.write_all(only),
                several => file.write_all(&several.concat()),
            },
            Self::Pipe(_) => Ok(()),
            Self::Streaming { pieces, thread } => {
                drop(pieces);
                thread.await.map_err(io::Error::other)?
            }
            Self::Failed => Err(io::Error::other("the file could not be written")),
        }
    }

    fn start_thread(&mut self) {
        let Self::Gathering { mut file, pieces: gathered, .. } = std::mem::replace(self, Self::Failed) else {
            return;
        };
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
        let thread = tokio::task::spawn_blocking(move || {
            gathered.iter().try_for_each(|piece| file.write_all(piece))?;
            drop(gathered);
            while let Some(piece) = receiver.blocking_recv() {
                file.write_all(&piece)?;
            }
            Ok(())
        });
        *self = Self::Streaming { pieces: sender, thread };
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// A terminal that nobody reads stands for a disk that takes nothing.
    #[tokio::test]
    async fn a_slow_disk_lets_the_client_wait() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut writer = Writer::new(slave.into()).unwrap();
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        let mut n_taken = 0;
        while writer.push(piece.clone()).now_or_never().is_some() {
            n_taken += 1;
            assert!(n_taken <= SMALL / piece.len() + 1 + QUEUE, "more than the bound");
        }
        assert_eq!(n_taken, SMALL / piece.len() + 1 + QUEUE);
        drop(master);
        assert!(writer.finish().await.is_err(), "the terminal is gone");
    }
}

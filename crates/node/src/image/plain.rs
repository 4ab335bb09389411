//! A layer's archive, decompressed: bounded, and hashed where it is known what it
//! should be.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use super::reference::Digest;
use super::unpack::Failed;

/// The bytes of an archive.
pub(super) struct Plain {
    from: Bounded<Box<dyn Read>>,
    hash: Option<Sha256>,
}

impl Plain {
    /// Reads at most `left` bytes, and hashes them if that is wanted.
    pub(super) fn open(blob: File, left: u64, hashed: bool) -> Result<Self, Failed> {
        let from = Bounded { from: decompressed(blob).map_err(Failed::Read)?, left };
        Ok(Self { from, hash: hashed.then(Sha256::new) })
    }

    /// Reads on to the end, which is behind that of the archive, and refuses what
    /// does not hash to `diff_id`.
    pub(super) fn prove(mut self, diff_id: &Digest, stop: &AtomicBool) -> Result<(), Failed> {
        let mut buffer = vec![0; 128 << 10];
        while self.read(&mut buffer).map_err(Failed::Read)? > 0 {
            if stop.load(Ordering::Relaxed) {
                return Err(Failed::Stopped);
            }
        }
        let found = self.hash.map(|hash| Digest::of_hash(&hash.finalize()));
        match found {
            Some(found) if found != *diff_id => Err(Failed::Refused(format!(
                "it unpacks to {found}; the image's configuration says {diff_id}"
            ))),
            _ => Ok(()),
        }
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..n]);
        }
        Ok(n)
    }
}

/// Known by its first bytes, whatever the manifest calls it.
fn decompressed(blob: File) -> io::Result<Box<dyn Read>> {
    use io::{Seek as _, SeekFrom};
    let mut blob = blob;
    // An image may have the same layer twice: then it was read to its end before.
    blob.seek(SeekFrom::Start(0))?;
    let mut magic = Vec::new();
    Read::by_ref(&mut blob).take(4).read_to_end(&mut magic)?;
    blob.seek(SeekFrom::Start(0))?;
    let blob = BufReader::with_capacity(256 << 10, blob);
    Ok(match magic[..] {
        [0x1f, 0x8b, ..] => {
            Box::new(BufReader::with_capacity(256 << 10, flate2::bufread::MultiGzDecoder::new(blob)))
        }
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(super::zstd::Frames::new(blob)),
        _ => Box::new(blob),
    })
}

/// Refuses to read on when the image is larger than allowed.
struct Bounded<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the image is larger than allowed"));
            }
        }
        Ok(n)
    }
}

//! Fetches a blob to a file: goes on where it broke off, and gives the file its
//! name only when its content hashes to it. Of several that fetch the same blob at
//! once, the first goes on with what is there; the others have files of their own.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use sha2::Digest as _;
use tokio::io::AsyncWriteExt as _;

use super::Error;
use super::http::NoAnswer;
use super::manifest::Blob;
use super::reference::Digest;
use super::registry::Registry;
use crate::disk;

/// Between two pieces.
const SILENCE: Duration = Duration::from_mins(1);
/// Attempts in a row that bring nothing.
const FRUITLESS: usize = 4;
/// Before the next attempt.
const PAUSE: Duration = Duration::from_millis(500);

/// The blob as an open file, which stays readable when its name is removed.
pub(super) async fn blob(registry: &Registry<'_>, blob: &Blob, dir: &Path) -> Result<File, Error> {
    let path = dir.join(blob.digest.hex());
    let size = blob.size;
    if let Some(there) = disk::blocking({
        let path = path.clone();
        move || File::open(&path).ok().filter(|file| file.metadata().is_ok_and(|found| found.len() == size))
    })
    .await
    {
        return Ok(there);
    }
    let part = disk::blocking({
        let (dir, name) = (dir.to_owned(), blob.digest.hex().to_owned());
        move || Part::open(&dir, &name)
    })
    .await?;
    let begun = length(&part.path).await > 0;
    let (mut digest, mut file) = fetch_and_hash(registry, blob, &part.path).await?;
    if digest != blob.digest && begun {
        // What was there may have come from somebody else's registry.
        (digest, file) = fetch_and_hash(registry, blob, &part.path).await?;
    }
    if digest != blob.digest {
        disk::blocking(move || disk::remove_file(&part.path)).await?;
        return Err(registry.unusable(format!("what was fetched as {} hashes to {digest}", blob.digest)));
    }
    tokio::fs::rename(&part.path, &path).await.map_err(disk::error("naming", &path))?;
    Ok(file)
}

/// Fetches the whole, and hashes it; what hashes to something else is taken out of the file.
async fn fetch_and_hash(registry: &Registry<'_>, blob: &Blob, part: &Path) -> Result<(Digest, File), Error> {
    fetch(registry, blob, part).await?;
    let (part, wanted) = (part.to_owned(), blob.digest.clone());
    let hashing = move || {
        let (digest, file) = hashed(&part)?;
        if digest != wanted {
            // The file stays the one that is locked.
            let emptied = File::options().write(true).truncate(true).open(&part);
            emptied.map_err(disk::error("emptying", &part))?;
        }
        Ok::<_, disk::Error>((digest, file))
    };
    Ok(disk::blocking(hashing).await?)
}

/// A file on its way, which nobody else writes to.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    /// Held: whoever finds the file locked takes another.
    _lock: File,
    /// It is of this attempt alone: nobody goes on with it.
    own: bool,
}

impl Part {
    /// Blocks on files.
    fn open(dir: &Path, name: &str) -> Result<Self, disk::Error> {
        let path = dir.join(format!(".part-{name}"));
        if let Some(lock) = lock(&path)? {
            return Ok(Self { path, _lock: lock, own: false });
        }
        let path = dir.join(format!(".part-{name}-{}", uuid::Uuid::new_v4()));
        let lock = lock(&path)?.ok_or_else(|| {
            disk::error("locking", &path)(std::io::Error::other("a file that nobody knows is locked"))
        })?;
        Ok(Self { path, _lock: lock, own: true })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.own {
            // A later start clears what stays.
            let _ = disk::remove_file(&self.path);
        }
    }
}

/// The file, locked, made if it is missing; `None` if somebody else has it.
fn lock(path: &Path) -> Result<Option<File>, disk::Error> {
    use std::os::unix::fs::MetadataExt as _;
    let open = || File::options().create(true).append(true).open(path);
    let file = open().map_err(disk::error("opening", path))?;
    let locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(e)) => return Err(disk::error("locking", path)(e)),
    };
    // Whoever had it may have given it its name in between.
    let number = |found: std::io::Result<std::fs::Metadata>| found.ok().map(|found| found.ino());
    let stays = locked && number(std::fs::metadata(path)) == number(file.metadata());
    Ok(stays.then_some(file))
}

/// Fetches until the size is reached; a broken connection is made again.
async fn fetch(registry: &Registry<'_>, blob: &Blob, part: &Path) -> Result<(), Error> {
    let mut fruitless = 0;
    loop {
        let before = length(part).await;
        if before == blob.size && before > 0 {
            return Ok(());
        }
        let result = fetch_once(registry, blob, part).await;
        let after = length(part).await;
        match result {
            Ok(()) if after == blob.size => return Ok(()),
            Err(e) if !e.is_unreachable() => return Err(e),
            other => {
                fruitless = if after > before { 0 } else { fruitless + 1 };
                if fruitless >= FRUITLESS {
                    other?;
                    return Err(
                        registry.unusable(format!("{} has {after} bytes, not {}", blob.digest, blob.size))
                    );
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn fetch_once(registry: &Registry<'_>, blob: &Blob, part: &Path) -> Result<(), Error> {
    let have = length(part).await;
    let from = if have < blob.size { have } else { 0 };
    let answer = registry.blob(&blob.digest, from).await?;
    let goes_on = from > 0 && answer.status() == StatusCode::PARTIAL_CONTENT;
    let mut options = tokio::fs::OpenOptions::new();
    let options = options.create(true).write(true).append(goes_on).truncate(!goes_on);
    let failed = || disk::error("writing", part);
    let mut file = options.open(part).await.map_err(failed())?;
    let mut got = if goes_on { from } else { 0 };
    let mut body = answer.into_body();
    let broken = |source: NoAnswer| Error::Unreachable { image: blob.digest.to_string(), source };
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        let frame = frame.map_err(|_| broken(NoAnswer::Late("the registry".to_owned())))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| broken(NoAnswer::Broken("the registry".to_owned(), e.into())))?;
        let Ok(piece) = frame.into_data() else { continue };
        got += piece.len() as u64;
        if got > blob.size {
            return Err(registry.unusable(format!("{} is longer than its manifest says", blob.digest)));
        }
        file.write_all(&piece).await.map_err(failed())?;
    }
    file.flush().await.map_err(failed())?;
    Ok(())
}

async fn length(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |found| found.len())
}

fn hashed(path: &Path) -> Result<(Digest, File), disk::Error> {
    let failed = || disk::error("reading", path);
    let open = || File::open(path).map_err(failed());
    let mut file = open()?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).map_err(failed())? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    Ok((Digest::of_hash(&hash.finalize()), open()?))
}

/// Removes blobs that no pull needs any more. Blocks on files.
pub(super) fn remove(dir: &Path, names: &[PathBuf]) {
    for name in names {
        // A later start clears what stays.
        let _ = disk::remove_file(&dir.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_to_a_part_that_another_has() {
        let dir = tempfile::tempdir().unwrap();
        let first = Part::open(dir.path(), "abc").unwrap();
        let second = Part::open(dir.path(), "abc").unwrap();
        assert!(!first.own && second.own && first.path != second.path);
        drop(second);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "one of its own goes with it");
        std::fs::write(&first.path, "half").unwrap();
        drop(first);
        let again = Part::open(dir.path(), "abc").unwrap();
        assert_eq!(std::fs::read(&again.path).unwrap(), b"half", "the next goes on with it");
        std::fs::rename(&again.path, dir.path().join("abc")).unwrap();
        let next = Part::open(dir.path(), "abc").unwrap();
        assert!(!next.own && std::fs::read(&next.path).unwrap().is_empty());
    }
}

//! Fetches a blob to a file: goes on where it broke off, and gives the file its
//! name only when its content hashes to it.

use std::fs::File;
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
    let part = dir.join(format!(".part-{}", blob.digest.hex()));
    fetch(registry, blob, &part).await?;
    let (digest, file) = disk::blocking({
        let part = part.clone();
        move || hashed(&part)
    })
    .await?;
    if digest != blob.digest {
        disk::blocking(move || disk::remove_file(&part)).await?;
        return Err(registry.unusable(format!("what was fetched as {} hashes to {digest}", blob.digest)));
    }
    tokio::fs::rename(&part, &path).await.map_err(disk::error("naming", &path))?;
    Ok(file)
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

//! What a memory consists of, so that a changed byte is found before it is run.
//!
//! A memory is written once. Whoever publishes it takes its [`Manifest`] and keeps
//! it elsewhere; before each restore the two are compared, unless the files stand as
//! they did when they were read the last time ([`Stamp`]).

mod stamp;

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::iter;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use stamp::Stamp;

/// Files of a directory, with all below it, by their relative names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The files.
    pub files: BTreeMap<String, Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// A directory is not what its manifest says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not there, or another one is.
    #[error("{0:?} is missing")]
    Missing(String),
    /// A file that nobody wrote.
    #[error("{0:?} does not belong there")]
    Foreign(String),
    /// A file has other bytes than were written.
    #[error("{0:?} was changed")]
    Changed(String),
    /// A file cannot be read.
    #[error("reading {0:?}")]
    Io(String, #[source] io::Error),
}

/// Files that are worth a second thread, together.
const WORTH_A_THREAD: u64 = 1 << 20;

/// A file that lies in a memory.
struct Found {
    name: String,
    path: PathBuf,
    meta: Metadata,
}

impl Manifest {
    /// Reads every file below `dir`. Blocks for as long as that takes.
    pub fn of(dir: &Path) -> Result<Self, Error> {
        Self::sums(&walk(dir)?)
    }

    /// As [`Self::of`], and how the files stood while they were read: as long as the
    /// stamp is the same, so are they. There is none if somebody wrote meanwhile.
    pub fn of_standing(dir: &Path) -> Result<(Self, Option<Stamp>), Error> {
        let (manifest, look) = stamp::while_standing(dir, Self::sums)?;
        let stamp = look.map(|look| Stamp::new(look, &manifest));
        Ok((manifest, stamp))
    }

    /// Compares with what is below `dir` now; names the first difference. Blocks.
    pub fn verify(&self, dir: &Path) -> Result<Option<Stamp>, Error> {
        let (now, stamp) = Self::of_standing(dir)?;
        if let Some(name) = self.files.keys().find(|name| !now.files.contains_key(*name)) {
            return Err(Error::Missing(name.clone()));
        }
        for (name, entry) in now.files {
            match self.files.get(&name) {
                None => return Err(Error::Foreign(name)),
                Some(written) if *written != entry => return Err(Error::Changed(name)),
                Some(_) => {}
            }
        }
        Ok(stamp)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }

    /// The biggest first, on two threads where that is worth it: most of a memory is
    /// the pages of a few processes, each in a file of its own.
    fn sums(files: &[Found]) -> Result<Self, Error> {
        let mut order: Vec<&Found> = files.iter().collect();
        order.sort_by_key(|file| std::cmp::Reverse(file.meta.len()));
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(String, Entry)>, Error> {
            let take = || order.get(next.fetch_add(1, Ordering::Relaxed));
            iter::from_fn(take).map(|file| Ok((file.name.clone(), sum(file)?))).collect()
        };
        let beside = order.iter().skip(1).map(|file| file.meta.len()).sum::<u64>() >= WORTH_A_THREAD;
        let (own, other) = thread::scope(|scope| {
            let builder = || thread::Builder::new().name("sums".to_owned());
            // Without a second thread the first does it all.
            let other = beside.then(|| builder().spawn_scoped(scope, work).ok()).flatten();
            let own = work();
            let other = other.map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            (own, other.unwrap_or_else(|| Ok(Vec::new())))
        });
        Ok(Self { files: own?.into_iter().chain(other?).collect() })
    }
}

/// All files below a directory, by name.
fn walk(dir: &Path) -> Result<Vec<Found>, Error> {
    let mut files = Vec::new();
    collect(dir, "", &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<Found>) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(failed(prefix))? {
        let entry = entry.map_err(failed(prefix))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = entry.metadata().map_err(failed(&name))?;
        if meta.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else if meta.is_file() {
            files.push(Found { name, path: entry.path(), meta });
        } else {
            // Memories have plain files only; a link could lead anywhere.
            return Err(Error::Foreign(name));
        }
    }
    Ok(())
}

fn failed(name: &str) -> impl FnOnce(io::Error) -> Error {
    let name = name.to_owned();
    move |error| Error::Io(name, error)
}

fn sum(found: &Found) -> Result<Entry, Error> {
    read(&found.path).map_err(failed(&found.name))
}

fn read(path: &Path) -> io::Result<Entry> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
    let sha256 = format!("{:x}", hash.finalize());
    Ok(Entry { bytes, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_have_the_sums_that_each_has_alone() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..40_u8 {
            fs::write(dir.path().join(format!("{n}")), vec![n; usize::from(n) * 3001]).unwrap();
        }
        fs::write(dir.path().join("large"), vec![7; 3 << 20]).unwrap();
        let manifest = Manifest::of(dir.path()).unwrap();
        assert_eq!(manifest.files.len(), 41);
        for (name, entry) in &manifest.files {
            let bytes = fs::read(dir.path().join(name)).unwrap();
            let alone = Entry { bytes: bytes.len() as u64, sha256: format!("{:x}", Sha256::digest(&bytes)) };
            assert_eq!(*entry, alone, "{name}");
        }
    }

    #[test]
    fn a_flipped_byte_a_lost_file_and_a_foreign_one_are_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        let path = dir.path().join("images/pages-1.img");
        fs::write(&path, [7; 1000]).unwrap();
        let manifest = Manifest::of(dir.path()).unwrap();
        manifest.verify(dir.path()).unwrap();
        assert_eq!((manifest.bytes(), manifest.files.len()), (1000, 1));

        let mut bytes = vec![7; 1000];
        bytes[500] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = manifest.verify(dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "\"images/pages-1.img\" was changed");
        bytes[500] ^= 1;
        fs::write(&path, &bytes).unwrap();
        fs::write(dir.path().join("other"), "").unwrap();
        assert!(matches!(manifest.verify(dir.path()), Err(Error::Foreign(name)) if name == "other"));
        fs::remove_file(dir.path().join("other")).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(manifest.verify(dir.path()), Err(Error::Missing(_))));
    }
}

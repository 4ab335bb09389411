//! What a memory consists of, so that a changed byte is found before it is run.
//!
//! A memory is written once. Whoever publishes it takes its [`Manifest`] and keeps
//! it elsewhere; before each restore the two are compared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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

impl Manifest {
    /// Reads every file below `dir`. Blocks for as long as that takes.
    pub fn of(dir: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        collect(dir, "", &mut files)?;
        Ok(Self { files })
    }

    /// Compares with what is below `dir` now; names the first difference. Blocks.
    pub fn verify(&self, dir: &Path) -> Result<(), Error> {
        let now = Self::of(dir)?;
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
        Ok(())
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }
}

fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Entry>) -> Result<(), Error> {
    let failed = |name: &str| {
        let name = name.to_owned();
        move |error| Error::Io(name, error)
    };
    for entry in fs::read_dir(dir).map_err(failed(prefix))? {
        let entry = entry.map_err(failed(prefix))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(failed(&name))?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else if kind.is_file() {
            files.insert(name.clone(), sum(&entry.path()).map_err(failed(&name))?);
        } else {
            // Memories have plain files only; a link could lead anywhere.
            return Err(Error::Foreign(name));
        }
    }
    Ok(())
}

fn sum(path: &Path) -> io::Result<Entry> {
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

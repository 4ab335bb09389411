//! Names of layers: a hash of everything that a layer follows from.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::step::Step;
use crate::disk;
use crate::hex::hex;

/// Changes when steps come to mean something else, so that old layers are not taken.
const VERSION: &[u8] = b"layer 1";

/// The hash of a layer and of all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of_parent(layers: &[String]) -> Self {
        Self(Sha256::digest([VERSION, layers.join("/").as_bytes()].concat()).into())
    }

    /// The key of a layer that others stand on, by its name.
    pub(super) fn of_layer(name: &str) -> Self {
        Self(Sha256::digest([VERSION, b"/", name.as_bytes()].concat()).into())
    }

    /// The key of the layer that shows what these do on top of those below.
    pub(super) fn of_merged(layers: &[String], below: &[String]) -> Self {
        let names = [layers.join("/"), below.join("/")].join(" on ");
        Self(Sha256::digest([VERSION, b" merged ", names.as_bytes()].concat()).into())
    }

    /// The key of a step on top of this one.
    pub(super) async fn then(self, step: &Step, dir: &Path) -> Result<Self, disk::Error> {
        let mut text = serde_json::to_vec(step).expect("strings always serialize");
        if let Step::Copy(copy) = step {
            let source = dir.join(&copy.src);
            text.extend(disk::blocking(move || hash_tree(&source)).await?);
        }
        Ok(self.then_bytes(&text))
    }

    pub(super) fn then_bytes(self, bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(bytes);
        Self(hash.finalize().into())
    }

    /// The name of the layer's directory.
    pub(super) fn name(self) -> String {
        hex(&self.0[..16])
    }

    pub(super) fn first_16(self) -> [u8; 16] {
        let mut first = [0; 16];
        first.copy_from_slice(&self.0[..16]);
        first
    }
}

/// The files below a path, or the path itself if it is a file, sorted: where
/// they are, and their paths beneath it. Links and special files are refused.
pub(super) fn files_of(root: &Path) -> Result<Vec<(PathBuf, PathBuf)>, disk::Error> {
    let mut files = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let kind = fs::symlink_metadata(&path).map_err(disk::error("reading", &path))?.file_type();
        if kind.is_dir() {
            waiting.extend(disk::list_dir(&path)?);
        } else if kind.is_file() {
            let beneath = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.push((path, beneath));
        } else {
            let refusal = io::Error::other("only files and directories can be copied");
            return Err(disk::error("copying", &path)(refusal));
        }
    }
    files.sort();
    Ok(files)
}

/// Permission bits of a file.
pub(super) fn mode_of(path: &Path) -> Result<u32, disk::Error> {
    let metadata = fs::metadata(path).map_err(disk::error("reading", path))?;
    Ok(metadata.permissions().mode() & 0o777)
}

fn hash_tree(root: &Path) -> Result<[u8; 32], disk::Error> {
    let mut hash = Sha256::new();
    for (path, beneath) in files_of(root)? {
        let content = fs::read(&path).map_err(disk::error("reading", &path))?;
        hash.update(beneath.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(mode_of(&path)?.to_be_bytes());
        hash.update(Sha256::digest(&content));
    }
    Ok(hash.finalize().into())
}

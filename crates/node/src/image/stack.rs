//! Puts the layers of an image together beside their place, then gives them their
//! name: from nothing, or from the tree of the lowest of them. Trees that the next
//! images may start from are kept on the way.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use runtime::Trees;

use super::pull::{Plan, Unpacked};
use super::reference::Digest;
use super::tree::Tree;
use super::unpack::{Bounds, Unpacker, prove_layer};
use super::{Error, UnpackError, account};
use crate::disk;
use crate::error::chain;

/// One layer.
#[derive(Debug)]
pub(super) struct Sheet {
    /// As it came, if it was fetched.
    pub(super) blob: Option<Arc<File>>,
    /// What it unpacks to, if the image says so.
    pub(super) diff_id: Option<Digest>,
}

/// The layers of an image, lowest first.
#[derive(Debug)]
pub(super) struct Stack {
    /// For errors.
    pub(super) image: String,
    pub(super) sheets: Vec<Sheet>,
    pub(super) plan: Plan,
    pub(super) bounds: Bounds,
    /// Set when nobody waits any more.
    pub(super) stop: Arc<AtomicBool>,
}

impl Stack {
    /// Makes `to` of them, whole or not at all. Blocks on files.
    pub(super) fn put(&self, to: &Path) -> Result<Unpacked, Error> {
        // Of this attempt alone: one that nobody waits for may be on its way out.
        let aside = beside(to, "image");
        let made = self.fill(&aside).and_then(|unpacked| {
            std::fs::rename(&aside, to).map_err(disk::error("naming", to))?;
            Ok(unpacked)
        });
        if made.is_err() {
            // The next start removes what stays.
            self.remove(&aside).unwrap_or_else(|error| tracing::warn!(%error, "a part of an image stays"));
        }
        made
    }

    fn fill(&self, dir: &Path) -> Result<Unpacked, Error> {
        let depth = self.plan.base.as_ref().map_or(0, |base| base.depth);
        // What is in the tree already is taken only by those who could have fetched it.
        for (index, sheet) in self.sheets.iter().enumerate().take(depth).skip(self.plan.had) {
            if let Some(diff_id) = &sheet.diff_id {
                let proven = prove_layer(self.blob(index)?, diff_id, self.bounds, &self.stop);
                proven.map_err(|source| self.failed(index, source))?;
            }
        }
        let mut unpacker = self.begin(dir)?;
        let mut kept = Vec::new();
        for (index, sheet) in self.sheets.iter().enumerate().skip(depth) {
            let laid = unpacker.layer(self.blob(index)?, sheet.diff_id.as_ref());
            laid.map_err(|source| self.failed(index, source))?;
            if self.keep(dir, index + 1) {
                kept.push(index + 1);
            }
        }
        let omitted = unpacker.omitted();
        let found = Tree::open(dir).and_then(|mut tree| account::furnish(&mut tree));
        let found = found.map_err(|source| {
            let path = "the account of sandboxes".to_owned();
            self.failed(self.sheets.len() - 1, UnpackError::Write { path, source })
        })?;
        if let Some(trees) = &self.plan.trees {
            trees.close(dir).map_err(disk::error("closing", dir))?;
        }
        Ok(Unpacked { kept, omitted, found })
    }

    fn begin(&self, dir: &Path) -> Result<Unpacker, Error> {
        let base = self.plan.base.as_ref();
        match &self.plan.trees {
            Some(trees) => {
                let begun = trees.begin(base.map(|base| base.path.as_path()), dir);
                begun.map_err(disk::error("making", dir))?;
            }
            None => disk::make_dir(dir)?,
        }
        if base.is_none() {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(dir, mode).map_err(disk::error("opening", dir))?;
        }
        let unpacker = Unpacker::new(dir, self.bounds, Arc::clone(&self.stop));
        let mut unpacker = unpacker.map_err(disk::error("opening", dir))?;
        if let Some(base) = base {
            unpacker.count(base.entries, base.bytes);
        }
        Ok(unpacker)
    }

    fn blob(&self, index: usize) -> Result<File, Error> {
        let blob = self.sheets[index].blob.as_ref().expect("what is not had is fetched");
        blob.try_clone().map_err(|e| self.failed(index, UnpackError::Read(e)))
    }

    fn failed(&self, index: usize, source: UnpackError) -> Error {
        Error::Layer { image: self.image.clone(), layer: index + 1, source }
    }

    /// Keeps the tree as it is now, if it is to be kept; whether it was. Without it,
    /// the next image takes longer, no more.
    fn keep(&self, dir: &Path, depth: usize) -> bool {
        let (Some(trees), Some(to)) = (&self.plan.trees, self.plan.keep.get(&depth)) else { return false };
        let staging = beside(to, "lowest");
        let copied = trees.begin(Some(dir), &staging).and_then(|()| trees.close(&staging));
        // Another team's image may have been faster: then the name is taken.
        let kept = copied.and_then(|()| std::fs::rename(&staging, to));
        if let Err(error) = &kept {
            if !to.is_dir() {
                tracing::warn!(error = chain(error), "a tree of an image's lowest layers was not kept");
            }
            remove(&**trees, &staging)
                .unwrap_or_else(|error| tracing::warn!(%error, "a part of an image stays"));
        }
        kept.is_ok()
    }

    fn remove(&self, dir: &Path) -> Result<(), disk::Error> {
        self.plan.trees.as_ref().map_or_else(|| disk::remove_dir(dir), |trees| remove(&**trees, dir))
    }
}

fn remove(trees: &dyn Trees, dir: &Path) -> Result<(), disk::Error> {
    trees.remove(dir).map_err(disk::error("removing", dir))
}

/// A hidden name of this attempt alone.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{what}-{name}-{}", uuid::Uuid::new_v4()))
}

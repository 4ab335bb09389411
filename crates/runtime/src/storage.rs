//! Bounded writable disk for sandboxes, and the place of template layers.
//!
//! Everything lies on one *state file system*, so that a sandbox's writes can
//! become a template layer by a rename. Which file system that is, is probed:
//!
//! 1. the state directory's own btrfs, when it has one with quotas;
//! 2. a btrfs in a sparse image of our own, on a loop device;
//! 3. per-sandbox ext4 images, when the kernel or the host has no btrfs.
//!
//! All functions block for a short time (`create` well under a millisecond on
//! btrfs) and start no thread; `open` may start `mkfs` once. Mounts are made in
//! the mount namespace of the caller and outlive the server on purpose. A helper
//! process with a mount namespace of its own must be a *slave* of it, not
//! private, or it neither sees later mounts nor lets earlier ones go.

mod btrfs;
mod error;
mod ext4;
mod image;
mod layer;
mod merge;
mod shared;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::ByteSize;

use crate::backend::chain;
use crate::trees::Trees;

pub use error::Error;
use error::at;

/// How storage is to be made.
#[derive(Debug, Clone, Default)]
pub struct StorageOptions {
    /// Size of the image, when one is made. It is sparse and never grows; the
    /// default is four fifths of what is free then.
    pub image_size: Option<ByteSize>,
    /// Only this kind, instead of the first that works.
    pub only: Option<StorageKind>,
}

/// Where sandboxes' writes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageKind {
    /// Subvolumes on the btrfs that holds the state directory.
    Btrfs,
    /// Subvolumes on a btrfs of our own in an image file.
    BtrfsImage,
    /// One ext4 image for each sandbox.
    Ext4Images,
}

impl std::fmt::Display for StorageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Btrfs => "btrfs subvolumes on the state directory's file system",
            Self::BtrfsImage => "btrfs subvolumes in an image on a loop device",
            Self::Ext4Images => "one ext4 image per sandbox",
        })
    }
}

/// The two directories an overlay writes to, on one mount. They hold unshifted ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritableLayer {
    /// Common parent, the directory to clone a mount of.
    pub base: PathBuf,
    /// What the sandbox wrote.
    pub upper: PathBuf,
    /// The overlay's scratch space.
    pub work: PathBuf,
}

impl WritableLayer {
    /// The layer of a sandbox directory; says nothing about whether it exists.
    pub fn of(dir: &Path) -> Self {
        Self::of_base(&dir.join("disk"))
    }

    fn of_base(base: &Path) -> Self {
        let base = base.to_owned();
        Self { upper: base.join("upper"), work: base.join("work"), base }
    }

    fn make_dirs(&self) -> Result<(), Error> {
        for dir in [&self.upper, &self.work] {
            fs::create_dir(dir).map_err(at("making", dir))?;
        }
        Ok(())
    }
}

/// The state file system. Cheap to share; all methods may be called from any thread.
#[derive(Debug)]
pub struct Storage {
    kind: StorageKind,
    root: PathBuf,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Btrfs(Arc<btrfs::Subvolumes>),
    Ext4(ext4::Images),
}

impl Storage {
    /// Opens the storage below `state_dir` (which exists), making it on first
    /// use and taking over what an earlier server left mounted.
    pub fn open(state_dir: &Path, options: &StorageOptions) -> Result<Self, Error> {
        let mut reasons = Vec::new();
        let kinds = [StorageKind::Btrfs, StorageKind::BtrfsImage, StorageKind::Ext4Images];
        for kind in kinds.into_iter().filter(|kind| options.only.is_none_or(|only| only == *kind)) {
            match Self::open_kind(state_dir, options, kind) {
                Ok(storage) => return Ok(storage),
                Err(e) => reasons.push(format!("{kind}: {}", chain(&e))),
            }
        }
        Err(Error::Unavailable { reasons })
    }

    fn open_kind(state_dir: &Path, options: &StorageOptions, kind: StorageKind) -> Result<Self, Error> {
        let root = state_dir.join("fs");
        let engine = match kind {
            StorageKind::Btrfs => Engine::Btrfs(Arc::new(btrfs::Subvolumes::on_state_dir(state_dir, &root)?)),
            StorageKind::BtrfsImage => {
                image::ensure_mounted(state_dir, &root, options.image_size)?;
                Engine::Btrfs(Arc::new(btrfs::Subvolumes::open(&root)?))
            }
            StorageKind::Ext4Images => Engine::Ext4(ext4::Images::open(state_dir, &root)?),
        };
        let storage = Self { kind, root, engine };
        for dir in [storage.sandboxes_dir(), storage.layers_dir()] {
            fs::create_dir_all(&dir).map_err(at("making", &dir))?;
        }
        Ok(storage)
    }

    /// Which kind was chosen.
    pub fn kind(&self) -> StorageKind {
        self.kind
    }

    /// The top of the state file system; only its owner may enter it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Parent of the sandboxes' directories.
    pub fn sandboxes_dir(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    /// Parent of the template layers.
    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Makes the writable layer of the sandbox directory `dir`, which exists.
    /// Writing more than `limit`, names and attributes included, fails inside
    /// with `EDQUOT` (btrfs) or `ENOSPC` (ext4).
    pub fn create(&self, dir: &Path, limit: ByteSize) -> Result<WritableLayer, Error> {
        match &self.engine {
            Engine::Btrfs(_) => btrfs::Subvolumes::create(dir, limit),
            Engine::Ext4(images) => images.create(dir, limit),
        }
    }

    /// Removes the writable layer of `dir` and its accounting, `dir` itself
    /// stays. Safe twice, and after a `create` that stopped half-way.
    pub fn remove(&self, dir: &Path) -> Result<(), Error> {
        match &self.engine {
            Engine::Btrfs(subvolumes) => subvolumes.remove(dir),
            Engine::Ext4(_) => ext4::Images::remove(dir),
        }
    }

    /// Writes the layer of `dir` back to the disk: it is there after a power cut.
    pub fn store(&self, dir: &Path) -> Result<(), Error> {
        let base = WritableLayer::of(dir).base;
        let failed = at("writing back", &base);
        let open = fs::File::open(&base).map_err(at("opening", &base))?;
        rustix::fs::syncfs(&open).map_err(failed)
    }

    /// The layer of `dir` that an earlier [`Self::create`] made, mounted again if
    /// the host was restarted since.
    pub fn reopen(&self, dir: &Path) -> Result<(), Error> {
        if let Engine::Ext4(_) = &self.engine {
            ext4::Images::reopen(dir)?;
        }
        let upper = WritableLayer::of(dir).upper;
        fs::metadata(&upper).map(drop).map_err(at("looking at", &upper))
    }

    /// What the writable layer of `dir` uses now.
    pub fn usage(&self, dir: &Path) -> Result<ByteSize, Error> {
        match &self.engine {
            Engine::Btrfs(subvolumes) => subvolumes.usage(dir),
            Engine::Ext4(_) => ext4::Images::usage(dir),
        }
    }

    /// Turns what the dead sandbox of `dir` wrote into the immutable layer
    /// `to`, a path below [`Self::layers_dir`] that is not there yet. The
    /// sandbox's writable layer is used up. The layer appears whole or not at all.
    pub fn seal(&self, dir: &Path, to: &Path) -> Result<(), Error> {
        match &self.engine {
            Engine::Btrfs(subvolumes) => subvolumes.seal(dir, to),
            Engine::Ext4(_) => ext4::Images::seal(dir, to),
        }
    }

    /// Copies the writable layer of `dir` as it is now, which is a moment only
    /// while nobody writes to it, to the layer `to`, a path below
    /// [`Self::layers_dir`] that is not there yet. It appears whole or not at all
    /// and shares its space with the original where the file system can do that.
    pub fn snapshot(&self, dir: &Path, to: &Path) -> Result<(), Error> {
        match &self.engine {
            Engine::Btrfs(subvolumes) => subvolumes.snapshot(dir, to),
            Engine::Ext4(_) => ext4::Images::snapshot(dir, to),
        }
    }

    /// [`Self::create`] with what a [`Self::snapshot`] kept in `layer`; what that
    /// holds counts towards the limit.
    pub fn create_from(&self, dir: &Path, layer: &Path, limit: ByteSize) -> Result<WritableLayer, Error> {
        match &self.engine {
            Engine::Btrfs(_) => btrfs::Subvolumes::create_from(dir, layer, limit),
            Engine::Ext4(images) => images.create_from(dir, layer, limit),
        }
    }

    /// Makes the layer `to`, a path below [`Self::layers_dir`] that is not there yet,
    /// of several, topmost first: in their place on top of `below`, topmost first, it
    /// shows the same as they do. It appears whole or not at all.
    pub fn merge(&self, layers: &[PathBuf], below: &[PathBuf], to: &Path) -> Result<(), Error> {
        let staging = layer::staging(to)?;
        self.remove_tree(&staging)?;
        let made = match &self.engine {
            Engine::Btrfs(_) => btrfs::Subvolumes::merge(layers, below, &staging),
            Engine::Ext4(_) => merge_plainly(layers, below, &staging),
        };
        let made = made.and_then(|()| fs::rename(&staging, to).map_err(at("naming", to)));
        if made.is_err() {
            self.remove_tree(&staging)?;
        }
        made
    }

    /// Makes layers that are copied without copying what they hold, where the state
    /// file system can do that.
    pub fn trees(&self) -> Option<Arc<dyn Trees>> {
        match &self.engine {
            Engine::Btrfs(subvolumes) => Some(Arc::clone(subvolumes) as Arc<dyn Trees>),
            Engine::Ext4(_) => None,
        }
    }

    /// Removes a template layer, sealed or made as a plain directory, and what was put
    /// together to become it. Safe twice.
    pub fn remove_layer(&self, layer: &Path) -> Result<(), Error> {
        self.remove_tree(&layer::staging(layer)?)?;
        self.remove_tree(layer)
    }

    fn remove_tree(&self, layer: &Path) -> Result<(), Error> {
        match &self.engine {
            Engine::Btrfs(subvolumes) => subvolumes.remove_layer(layer),
            Engine::Ext4(_) => layer::remove_tree(layer),
        }
    }

    /// Room left for all sandboxes together.
    pub fn free(&self) -> Result<ByteSize, Error> {
        let stat = rustix::fs::statvfs(&self.root).map_err(at("looking at", &self.root))?;
        Ok(ByteSize::bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    /// Unmounts what `open` mounted when no sandbox is left, and says whether
    /// nothing of ours is mounted now. With sandboxes it stays, for them and for
    /// the next server.
    pub fn close(self) -> Result<bool, Error> {
        let sandboxes = self.sandboxes_dir();
        let mut left = fs::read_dir(&sandboxes).map_err(at("listing", &sandboxes))?;
        if left.next().is_some() {
            return Ok(self.kind == StorageKind::Btrfs);
        }
        let Self { kind, root, engine } = self;
        drop(engine);
        match kind {
            StorageKind::BtrfsImage => image::unmount(&root).map(|()| true),
            StorageKind::Btrfs | StorageKind::Ext4Images => Ok(true),
        }
    }
}

/// [`Storage::merge`] where layers are plain directories.
pub(crate) fn merge_beside(layers: &[PathBuf], below: &[PathBuf], to: &Path) -> Result<(), Error> {
    let staging = layer::staging(to)?;
    layer::remove_tree(&staging)?;
    let made = merge_plainly(layers, below, &staging);
    let made = made.and_then(|()| fs::rename(&staging, to).map_err(at("naming", to)));
    if made.is_err() {
        layer::remove_tree(&staging)?;
    }
    made
}

fn merge_plainly(layers: &[PathBuf], below: &[PathBuf], to: &Path) -> Result<(), Error> {
    fs::create_dir(to).map_err(at("making", to))?;
    merge::merge(layers, below, to)
}

#[cfg(test)]
mod tests;

//! One subvolume with a limit for each sandbox.
//!
//! Quotas count metadata too, so a million empty files meet the limit like a
//! big one does. Space of removed subvolumes comes back in the background; so
//! does the accounting entry, by itself on newer kernels and by [`Subvolumes::sweep`]
//! on older ones.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use model::ByteSize;
use sys::btrfs::{self as kernel, Quota};

use super::WritableLayer;
use super::error::{Error, at};
use super::image::open_dir;
use super::{layer, merge, shared};
use crate::trees::Trees;

/// Accounts that one removal looks at. More than one, so that they become fewer; not
/// all, or removing many at once would take the square of their number.
const SWEPT_AT_ONCE: usize = 8;

/// A full layer still starts: the daemon writes some files of its own.
const LEAST_ROOM: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Subvolumes {
    root: File,
    /// `/sys/fs/btrfs/<id>/qgroups`, where the kernel shows what each subvolume uses.
    accounts: PathBuf,
    /// Numbers of removed subvolumes whose accounting may still be there.
    gone: Mutex<VecDeque<u64>>,
}

impl Subvolumes {
    /// On the btrfs that the state directory lies on. Full quotas are taken when
    /// they are on, but never switched on: they can slow a whole host with many
    /// snapshots down, and that is not ours to decide.
    pub(super) fn on_state_dir(state_dir: &Path, root: &Path) -> Result<Self, Error> {
        let dir = open_dir(state_dir)?;
        if !kernel::is_btrfs(dir.as_fd()).map_err(at("looking at", state_dir))? {
            return Err(at("using", state_dir)(io::Error::other("it is not on btrfs")));
        }
        fs::create_dir_all(root).map_err(at("making", root))?;
        layer::owner_only(root)?;
        Self::with_quota(root, &[Quota::Simple])
    }

    /// On a file system of our own.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        Self::with_quota(root, &[Quota::Simple, Quota::Full])
    }

    fn with_quota(path: &Path, kinds: &[Quota]) -> Result<Self, Error> {
        let root = open_dir(path)?;
        let id = kernel::file_system_id(root.as_fd()).map_err(at("reading the id of", path))?;
        let accounts = Path::new("/sys/fs/btrfs").join(id).join("qgroups");
        if !accounts.exists() {
            let enabled = kinds.iter().map(|kind| kernel::enable_quota(root.as_fd(), *kind));
            let enabled = enabled.reduce(Result::or).unwrap_or(Ok(()));
            enabled.map_err(at("switching quotas on for", path))?;
        }
        let subvolumes = Self { root, accounts, gone: Mutex::default() };
        subvolumes.find_gone();
        Ok(subvolumes)
    }

    /// An account that refers to nothing is that of a removed subvolume: a live
    /// one holds at least its top directory.
    fn find_gone(&self) {
        let Ok(entries) = fs::read_dir(&self.accounts) else { return };
        let ids = entries.flatten().filter_map(|entry| {
            let id = entry.file_name().to_str()?.strip_prefix("0_")?.parse().ok()?;
            (id >= 256 && self.referenced(id).ok()? == 0).then_some(id)
        });
        self.lock_gone().extend(ids);
        self.sweep(usize::MAX);
    }

    pub(super) fn create(dir: &Path, limit: ByteSize) -> Result<WritableLayer, Error> {
        let layer = WritableLayer::of(dir);
        let parent = open_dir(dir)?;
        kernel::create_subvolume(parent.as_fd(), disk_name(&layer))
            .map_err(at("making the subvolume", &layer.base))?;
        let subvolume = open_dir(&layer.base)?;
        kernel::limit_subvolume(subvolume.as_fd(), Some(limit.as_u64()))
            .map_err(at("limiting the subvolume", &layer.base))?;
        layer.make_dirs()?;
        Ok(layer)
    }

    pub(super) fn remove(&self, dir: &Path) -> Result<(), Error> {
        self.remove_subvolume(&WritableLayer::of(dir).base)
    }

    fn remove_subvolume(&self, path: &Path) -> Result<(), Error> {
        let subvolume = match File::open(path) {
            Ok(subvolume) => subvolume,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(at("opening", path)(e)),
        };
        let id = kernel::subvolume_id(subvolume.as_fd()).map_err(at("reading the number of", path))?;
        drop(subvolume);
        let (parent, name) = split(path)?;
        kernel::delete_subvolume(open_dir(parent)?.as_fd(), name)
            .map_err(at("removing the subvolume", path))?;
        self.lock_gone().push_back(id);
        self.sweep(SWEPT_AT_ONCE);
        Ok(())
    }

    /// Forgets some accounts of removed subvolumes, those that wait longest first, as
    /// far as they are cleaned up; the rest waits for the next removal or the next start.
    fn sweep(&self, most: usize) {
        let mut gone = self.lock_gone();
        let some = most.min(gone.len());
        let waiting: Vec<_> = gone.drain(..some).collect();
        drop(gone);
        let still = waiting.into_iter().filter(|id| {
            self.account(*id).exists() && kernel::forget_subvolume(self.root.as_fd(), *id).is_err()
        });
        let still: Vec<_> = still.collect();
        self.lock_gone().extend(still);
    }

    pub(super) fn usage(&self, dir: &Path) -> Result<ByteSize, Error> {
        let base = WritableLayer::of(dir).base;
        let subvolume = open_dir(&base)?;
        let id = kernel::subvolume_id(subvolume.as_fd()).map_err(at("reading the number of", &base))?;
        let bytes = self.referenced(id).and_then(|used| Ok(used + self.count(id, "rsv_data")?));
        let own = bytes.map_err(at("reading the usage of", &base))?;
        Ok(ByteSize::bytes(own + shared::inherited(&base)?))
    }

    pub(super) fn snapshot(&self, dir: &Path, to: &Path) -> Result<(), Error> {
        let staging = layer::staging(to)?;
        self.remove_layer(&staging)?;
        let made =
            self.snapshot_to(dir, &staging).and_then(|()| fs::rename(&staging, to).map_err(at("naming", to)));
        if made.is_err() {
            self.remove_layer(&staging)?;
        }
        made
    }

    fn snapshot_to(&self, dir: &Path, staging: &Path) -> Result<(), Error> {
        let used = self.usage(dir)?;
        copy_subvolume(&WritableLayer::of(dir).base, staging)?;
        if self.counts_allocations() {
            shared::set_inherited(staging, used.as_u64())?;
        }
        layer::owner_only(staging)?;
        let subvolume = open_dir(staging)?;
        kernel::set_read_only(subvolume.as_fd(), true).map_err(at("closing", staging))
    }

    pub(super) fn create_from(dir: &Path, from: &Path, limit: ByteSize) -> Result<WritableLayer, Error> {
        let layer = WritableLayer::of(dir);
        copy_subvolume(from, &layer.base)?;
        let mut inherited = shared::inherited(&layer.base)?;
        // What is known is what was once allocated. Where that leaves little room it
        // is worth counting what is still there.
        if inherited > limit.as_u64() / 2 {
            inherited = shared::allocated(&layer.upper)?.min(inherited);
            shared::set_inherited(&layer.base, inherited)?;
        }
        let subvolume = open_dir(&layer.base)?;
        let own = limit.as_u64().saturating_sub(inherited).max(LEAST_ROOM);
        kernel::limit_subvolume(subvolume.as_fd(), Some(own))
            .map_err(at("limiting the subvolume", &layer.base))?;
        Ok(layer)
    }

    /// Whether an extent is counted for who allocated it and not for all who share it.
    fn counts_allocations(&self) -> bool {
        fs::read_to_string(self.accounts.join("mode")).is_ok_and(|mode| mode.trim() == "squota")
    }

    pub(super) fn seal(&self, dir: &Path, to: &Path) -> Result<(), Error> {
        let staging = layer::staging(to)?;
        self.remove_layer(&staging)?;
        let base = WritableLayer::of(dir).base;
        fs::rename(&base, &staging).map_err(at("moving", &base))?;
        // A sandbox that filled its disk is sealed too; moving names takes room.
        kernel::limit_subvolume(open_dir(&staging)?.as_fd(), None)
            .map_err(at("lifting the limit of", &staging))?;
        layer::lift_upper(&WritableLayer::of_base(&staging))?;
        let subvolume = open_dir(&staging)?;
        kernel::set_read_only(subvolume.as_fd(), true).map_err(at("closing", &staging))?;
        fs::rename(&staging, to).map_err(at("naming", to))
    }

    /// Into a subvolume of its own, which nobody changes afterwards.
    pub(super) fn merge(layers: &[PathBuf], below: &[PathBuf], to: &Path) -> Result<(), Error> {
        let (parent, name) = split(to)?;
        kernel::create_subvolume(open_dir(parent)?.as_fd(), name).map_err(at("making the subvolume", to))?;
        merge::merge(layers, below, to)?;
        kernel::set_read_only(open_dir(to)?.as_fd(), true).map_err(at("closing", to))
    }

    pub(super) fn remove_layer(&self, layer: &Path) -> Result<(), Error> {
        let dir = match File::open(layer) {
            Ok(dir) => dir,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(at("opening", layer)(e)),
        };
        if kernel::is_subvolume(dir.as_fd()).map_err(at("looking at", layer))? {
            drop(dir);
            self.remove_subvolume(layer)
        } else {
            layer::remove_tree(layer)
        }
    }

    fn account(&self, id: u64) -> PathBuf {
        self.accounts.join(format!("0_{id}"))
    }

    fn referenced(&self, id: u64) -> io::Result<u64> {
        self.count(id, "referenced")
    }

    fn count(&self, id: u64, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(self.account(id).join(name))?;
        text.trim().parse().map_err(io::Error::other)
    }

    fn lock_gone(&self) -> std::sync::MutexGuard<'_, VecDeque<u64>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trees for Subvolumes {
    fn begin(&self, from: Option<&Path>, to: &Path) -> io::Result<()> {
        let made = match from {
            Some(from) => copy_subvolume(from, to),
            None => split(to).and_then(|(parent, name)| {
                let parent = open_dir(parent)?;
                kernel::create_subvolume(parent.as_fd(), name).map_err(at("making the subvolume", to))
            }),
        };
        made.map_err(io::Error::other)
    }

    fn close(&self, tree: &Path) -> io::Result<()> {
        let closed = open_dir(tree).and_then(|subvolume| {
            kernel::set_read_only(subvolume.as_fd(), true).map_err(at("closing", tree))
        });
        closed.map_err(io::Error::other)
    }

    fn remove(&self, tree: &Path) -> io::Result<()> {
        self.remove_layer(tree).map_err(io::Error::other)
    }
}

fn copy_subvolume(from: &Path, to: &Path) -> Result<(), Error> {
    let (parent, name) = split(to)?;
    kernel::snapshot_subvolume(open_dir(from)?.as_fd(), open_dir(parent)?.as_fd(), name)
        .map_err(at("copying the subvolume", from))
}

fn disk_name(layer: &WritableLayer) -> &OsStr {
    layer.base.file_name().unwrap_or_default()
}

fn split(path: &Path) -> Result<(&Path, &OsStr), Error> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(at("splitting", path)(io::Error::from(io::ErrorKind::InvalidInput))),
    }
}

//! One small ext4 image for each sandbox, where there is no btrfs.
//!
//! Formatting takes tens of milliseconds, so each size is formatted once and
//! copied: an empty file system is a sparse file with little in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use model::ByteSize;
use rustix::fs::SeekFrom;

use super::WritableLayer;
use super::error::{Error, at};
use super::image::{is_mount_point, make_sparse, mkfs, mount, unmount};
use super::layer;

#[derive(Debug)]
pub(super) struct Images {
    /// Formatted empty images, one for each size ever asked for.
    blanks: PathBuf,
}

impl Images {
    pub(super) fn open(state_dir: &Path, root: &Path) -> Result<Self, Error> {
        if state_dir.join("fs.btrfs").exists() {
            let source =
                io::Error::other("it holds a btrfs image; make that one usable again or move it away");
            return Err(at("using", state_dir)(source));
        }
        let blanks = root.join("blank");
        fs::create_dir_all(&blanks).map_err(at("making", &blanks))?;
        layer::owner_only(root)?;
        let images = Self { blanks };
        images.blank(ByteSize::mib(64))?;
        Ok(images)
    }

    pub(super) fn create(&self, dir: &Path, limit: ByteSize) -> Result<WritableLayer, Error> {
        let layer = WritableLayer::of(dir);
        let image = image_of(dir);
        let blank = self.blank(limit)?;
        copy_sparse(&blank, &image, limit)?;
        fs::create_dir(&layer.base).map_err(at("making", &layer.base))?;
        mount(&image, &layer.base, c"ext4", c"discard")?;
        layer::remove_tree(&layer.base.join("lost+found"))?;
        layer.make_dirs()?;
        Ok(layer)
    }

    pub(super) fn remove(dir: &Path) -> Result<(), Error> {
        let base = WritableLayer::of(dir).base;
        if base.exists() {
            while is_mount_point(&base)? {
                unmount(&base)?;
            }
            layer::remove_tree(&base)?;
        }
        match fs::remove_file(image_of(dir)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("removing", &image_of(dir))(e)),
            _ => Ok(()),
        }
    }

    pub(super) fn reopen(dir: &Path) -> Result<(), Error> {
        let base = WritableLayer::of(dir).base;
        if is_mount_point(&base)? { Ok(()) } else { mount(&image_of(dir), &base, c"ext4", c"discard") }
    }

    pub(super) fn usage(dir: &Path) -> Result<ByteSize, Error> {
        let base = WritableLayer::of(dir).base;
        let stat = rustix::fs::statvfs(&base).map_err(at("reading the usage of", &base))?;
        Ok(ByteSize::bytes(stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize)))
    }

    pub(super) fn seal(dir: &Path, to: &Path) -> Result<(), Error> {
        let staging = layer::staging(to)?;
        layer::remove_tree(&staging)?;
        layer::copy_tree(&WritableLayer::of(dir).upper, &staging)?;
        fs::rename(&staging, to).map_err(at("naming", to))?;
        Self::remove(dir)
    }

    pub(super) fn snapshot(dir: &Path, to: &Path) -> Result<(), Error> {
        let staging = layer::staging(to)?;
        layer::remove_tree(&staging)?;
        let copied = fs::create_dir(&staging).map_err(at("making", &staging)).and_then(|()| {
            layer::owner_only(&staging)?;
            layer::copy_tree(&WritableLayer::of(dir).upper, &WritableLayer::of_base(&staging).upper)?;
            fs::rename(&staging, to).map_err(at("naming", to))
        });
        if copied.is_err() {
            layer::remove_tree(&staging)?;
        }
        copied
    }

    pub(super) fn create_from(
        &self,
        dir: &Path,
        from: &Path,
        limit: ByteSize,
    ) -> Result<WritableLayer, Error> {
        let layer = self.create(dir, limit)?;
        layer::copy_tree(&WritableLayer::of_base(from).upper, &layer.upper)?;
        Ok(layer)
    }

    /// The empty image of a size, formatted when it is the first of its size.
    fn blank(&self, size: ByteSize) -> Result<PathBuf, Error> {
        let blank = self.blanks.join(format!("{}.ext4", size.as_u64()));
        if blank.exists() {
            return Ok(blank);
        }
        // Several sandboxes may format at once; each its own file, the last rename wins.
        let fresh = self.blanks.join(format!("{}.{:?}.new", size.as_u64(), std::thread::current().id()));
        make_sparse(&fresh, size)?;
        let options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
        // The loop device has blocks of 4 KiB; smaller ones would be refused.
        let args = ["-q", "-F", "-b", "4096", "-m", "0", "-J", "size=4", "-E", options];
        mkfs("mkfs.ext4", "e2fsprogs", &args, &fresh)?;
        fs::rename(&fresh, &blank).map_err(at("naming", &blank))?;
        Ok(blank)
    }
}

fn image_of(dir: &Path) -> PathBuf {
    dir.join("disk.ext4")
}

/// Copies only what is written; holes stay holes.
fn copy_sparse(from: &Path, to: &Path, size: ByteSize) -> Result<(), Error> {
    let source = File::open(from).map_err(at("opening", from))?;
    let target = make_sparse(to, size)?;
    copy_extents(&source, &target).map_err(at("copying", from))
}

pub(super) fn copy_extents(source: &File, target: &File) -> rustix::io::Result<()> {
    use rustix::io::Errno;
    let mut end = 0;
    loop {
        let mut at = match rustix::fs::seek(source, SeekFrom::Data(end)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            Err(e) => return Err(e),
        };
        end = rustix::fs::seek(source, SeekFrom::Hole(at))?;
        let mut to = at;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX);
            if rustix::fs::copy_file_range(source, Some(&mut at), target, Some(&mut to), len)? == 0 {
                return Err(Errno::IO);
            }
        }
    }
}

//! The state file system in a sparse image of our own: made once, mounted until
//! the last sandbox is gone, then released by the kernel.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use model::ByteSize;
use rustix::mount::{MountFlags, UnmountFlags};
use sys::loopdev::LoopDevice;

use super::error::{Error, at};

/// Below this a btrfs is not worth making.
const SMALLEST: ByteSize = ByteSize::mib(512);
/// Above this a default is nobody's wish.
const LARGEST_DEFAULT: ByteSize = ByteSize::gib(4096);

/// Mounts `<state_dir>/fs.btrfs` at `root`, making image and file system on
/// first use; nothing to do when an earlier server left it mounted.
pub(super) fn ensure_mounted(state_dir: &Path, root: &Path, size: Option<ByteSize>) -> Result<(), Error> {
    fs::create_dir_all(root).map_err(at("making", root))?;
    if is_mount_point(root)? {
        return Ok(());
    }
    let image = state_dir.join("fs.btrfs");
    if !image.exists() {
        make_image(state_dir, &image, size)?;
    }
    mount(&image, root, c"btrfs", c"discard=async")?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(at("closing", root))
}

/// Whether another file system is mounted at `path`.
pub(super) fn is_mount_point(path: &Path) -> Result<bool, Error> {
    let own = fs::metadata(path).map_err(at("looking at", path))?;
    let parent = path.parent().unwrap_or(path);
    let above = fs::metadata(parent).map_err(at("looking at", parent))?;
    Ok(own.dev() != above.dev())
}

/// Mounts the file system in an image. The loop device is found when an earlier
/// mount still holds it: a second one on the same image would corrupt it.
pub(super) fn mount(
    image: &Path,
    target: &Path,
    kind: &'static std::ffi::CStr,
    data: &std::ffi::CStr,
) -> Result<(), Error> {
    let device = LoopDevice::attach_or_find(image).map_err(|e| Error::Step {
        step: e.step,
        path: e.image,
        source: e.source,
    })?;
    rustix::mount::mount(device.path(), target, kind, MountFlags::NOATIME, data)
        .map_err(at("mounting", image))
}

/// Unmounts; safe when nothing is mounted. Busy mounts are detached: they go
/// with their last user.
pub(super) fn unmount(target: &Path) -> Result<(), Error> {
    use rustix::io::Errno;
    match rustix::mount::unmount(target, UnmountFlags::empty()) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => {
            rustix::mount::unmount(target, UnmountFlags::DETACH).map_err(at("unmounting", target))
        }
        Err(e) => Err(at("unmounting", target)(e)),
    }
}

fn make_image(state_dir: &Path, image: &Path, size: Option<ByteSize>) -> Result<(), Error> {
    let size = match size {
        Some(size) => size,
        None => default_size(state_dir)?,
    };
    if size < SMALLEST {
        let source = io::Error::other(format!("{size} is too little, {SMALLEST} is the least"));
        return Err(at("making", image)(source));
    }
    // Under another name until it is whole: a crash here must not leave an
    // image that the next start takes for a file system.
    let fresh = state_dir.join("fs.btrfs.new");
    make_sparse(&fresh, size)?;
    // One copy of metadata: a second one in the same image file protects from nothing.
    mkfs(
        "mkfs.btrfs",
        "btrfs-progs",
        &["-q", "-f", "-K", "-d", "single", "-m", "single", "-L", "warren"],
        &fresh,
    )?;
    fs::rename(&fresh, image).map_err(at("naming", image))
}

fn default_size(state_dir: &Path) -> Result<ByteSize, Error> {
    let stat = rustix::fs::statvfs(state_dir).map_err(at("looking at", state_dir))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let wanted = ByteSize::mib(ByteSize::bytes(free / 5 * 4).as_mib());
    Ok(wanted.min(LARGEST_DEFAULT))
}

/// Makes an empty sparse file that only its owner can read.
pub(super) fn make_sparse(path: &Path, size: ByteSize) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path).map_err(at("making", path))?;
    file.set_len(size.as_u64()).map_err(at("sizing", path))?;
    Ok(file)
}

/// Runs a program that makes a file system, with the package that has it named
/// when it is missing.
pub(super) fn mkfs(program: &'static str, package: &str, args: &[&str], image: &Path) -> Result<(), Error> {
    let output = Command::new(program).args(args).arg(image).stdin(Stdio::null()).output();
    let fail = |message: String| Error::Program { program, path: image.to_owned(), message };
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(fail(String::from_utf8_lossy(&output.stderr).trim().chars().take(400).collect())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(fail(format!("not found; install the package {package}")))
        }
        Err(e) => Err(fail(e.to_string())),
    }
}

/// Opens a directory, for calls that work on it.
pub(super) fn open_dir(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(at("opening", path))
}

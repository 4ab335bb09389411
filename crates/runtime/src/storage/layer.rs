//! Trees of files: an upper directory becomes a layer, a layer goes away.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, XattrFlags};

use super::WritableLayer;
use super::error::{Error, at};

/// Where a layer is put together: beside its final place, so that the last step is a rename.
pub(super) fn staging(to: &Path) -> Result<PathBuf, Error> {
    let name =
        to.file_name().ok_or_else(|| at("naming", to)(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mut staged = std::ffi::OsString::from(".sealing-");
    staged.push(name);
    Ok(to.with_file_name(staged))
}

/// Makes the common parent of `upper` and `work` look like `upper`: its entries,
/// owner, mode, attributes and times. Entries are moved, not copied, so a big
/// layer costs no more than a small one.
pub(super) fn lift_upper(layer: &WritableLayer) -> Result<(), Error> {
    remove_tree(&layer.work)?;
    // What the sandbox wrote may itself be called `upper`.
    let aside = layer.base.join(".warren-sealing");
    fs::rename(&layer.upper, &aside).map_err(at("moving", &layer.upper))?;
    let meta = fs::metadata(&aside).map_err(at("looking at", &aside))?;
    for entry in fs::read_dir(&aside).map_err(at("listing", &aside))? {
        let entry = entry.map_err(at("listing", &aside))?.path();
        let target = layer.base.join(entry.file_name().unwrap_or_default());
        fs::rename(&entry, &target).map_err(at("moving", &entry))?;
    }
    copy_attributes(&aside, &layer.base).map_err(at("copying the attributes of", &aside))?;
    fs::remove_dir(&aside).map_err(at("removing", &aside))?;
    std::os::unix::fs::chown(&layer.base, Some(meta.uid()), Some(meta.gid()))
        .map_err(at("owning", &layer.base))?;
    fs::set_permissions(&layer.base, meta.permissions()).map_err(at("opening", &layer.base))?;
    copy_times(&meta, &layer.base).map_err(at("dating", &layer.base))
}

fn copy_attributes(from: &Path, to: &Path) -> rustix::io::Result<()> {
    let mut names = vec![0_u8; 64 * 1024];
    let len = rustix::fs::listxattr(from, &mut names[..])?;
    let mut value = vec![0_u8; 64 * 1024];
    for name in names[..len].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let len = rustix::fs::getxattr(from, name, &mut value[..])?;
        rustix::fs::setxattr(to, name, &value[..len], XattrFlags::empty())?;
    }
    Ok(())
}

fn copy_times(meta: &fs::Metadata, to: &Path) -> rustix::io::Result<()> {
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: meta.atime(), tv_nsec: meta.atime_nsec() },
        last_modification: rustix::fs::Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() },
    };
    rustix::fs::utimensat(CWD, to, &times, rustix::fs::AtFlags::empty())
}

/// Copies a tree with owners, hard links, devices and attributes; for storage
/// where a layer cannot be moved out of a sandbox's own file system.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    let output = Command::new("cp").arg("-aT").arg("--").arg(from).arg(to).stdin(Stdio::null()).output();
    let output = output.map_err(at("copying", from))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().chars().take(400).collect();
    Err(Error::Program { program: "cp", path: from.to_owned(), message })
}

/// Removes a tree; safe when it is gone.
pub(super) fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("removing", path)(e)),
        _ => Ok(()),
    }
}

/// Closes a directory to everybody but its owner.
pub(super) fn owner_only(dir: &Path) -> Result<(), Error> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(at("closing", dir))
}

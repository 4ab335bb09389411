//! Mounts as descriptors: made or cloned hanging nowhere, then hung up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

/// A new instance of a file system, hanging nowhere yet.
pub(in crate::namespaces) fn detached(
    kind: &str,
    flags: MountAttrFlags,
    options: &[(&str, &str)],
) -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(fs.as_fd(), *name)?;
        } else {
            rustix::mount::fsconfig_set_string(fs.as_fd(), *name, *value)?;
        }
    }
    rustix::mount::fsconfig_create(fs.as_fd())?;
    Ok(rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

pub(in crate::namespaces) fn clone_of(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

pub(in crate::namespaces) fn attach(mount: &OwnedFd, at: impl AsRef<Path>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    Ok(rustix::mount::move_mount(mount.as_fd(), "", CWD, at.as_ref(), flags)?)
}

pub(in crate::namespaces) fn make_and_attach(mount: &OwnedFd, at: &str) -> io::Result<()> {
    rustix::fs::mkdir(at, Mode::from_raw_mode(0o755))?;
    attach(mount, at)
}

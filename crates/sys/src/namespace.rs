//! Leaving namespaces for new ones.
#![expect(unsafe_code, reason = "unshare has no safe wrapper")]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a copy of the mount table of its own.
pub fn new_mount_namespace() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)
}

/// Makes the cgroups where the caller stands now look like the roots.
pub fn new_cgroup_namespace() -> io::Result<()> {
    unshare(UnshareFlags::NEWCGROUP)
}

/// Gives the calling thread an empty network namespace.
pub fn new_network_namespace() -> io::Result<()> {
    unshare(UnshareFlags::NEWNET)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags never contain FILES, the only one that is unsafe.
    unsafe { unshare_unsafe(flags) }.map_err(Into::into)
}

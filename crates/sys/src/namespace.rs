//! Leaving namespaces for new ones.
#![expect(unsafe_code, reason = "unshare and the ioctl have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

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

/// The user, as the caller sees it, that made a user namespace and may do
/// everything in it.
pub fn owner(users: BorrowedFd<'_>) -> io::Result<u32> {
    const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
    let mut uid: libc::uid_t = 0;
    // SAFETY: the argument is one `uid_t`, which the kernel writes.
    let result = unsafe { libc::ioctl(users.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(uid) }
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags never contain FILES, the only one that is unsafe.
    unsafe { unshare_unsafe(flags) }.map_err(Into::into)
}

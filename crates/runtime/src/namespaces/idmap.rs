//! The shift between user ids inside and outside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use model::Slot;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::Pid;
use sys::mount::Attributes;

use super::{Host, StepError};
use crate::{ErrorKind, MachineSpec};

/// Ids that each sandbox has.
const RANGE: u32 = 65_536;

/// The first id outside of a slot's range; `None` where numbers end.
pub(super) fn first_id(base: u32, slot: Slot) -> Option<u32> {
    let first = slot.0.checked_mul(RANGE)?.checked_add(base)?;
    // The last id of all means "nobody" to the kernel.
    first.checked_add(RANGE).map(|_| first)
}

/// The same for a machine to be.
pub(super) fn first_id_of(host: &Host, spec: &MachineSpec) -> Result<u32, StepError> {
    first_id(host.options.first_user_id, spec.slot)
        .ok_or_else(|| StepError::new(ErrorKind::Exhausted, NoIds(spec.slot)))
}

#[derive(Debug, thiserror::Error)]
#[error("slot {0} has no user ids left; lower the first user id or the number of slots")]
struct NoIds(Slot);

/// Maps ids 0 to 65,535 of a newborn's user namespace to the range from `first`.
pub(super) fn write_maps(pid: Pid, first: u32) -> io::Result<()> {
    let map = format!("0 {first} {RANGE}\n");
    std::fs::write(format!("/proc/{}/uid_map", pid.as_raw_pid()), &map)?;
    std::fs::write(format!("/proc/{}/gid_map", pid.as_raw_pid()), &map)
}

/// A namespace of a process, by its file below `/proc/<pid>/ns`.
pub(super) fn namespace(pid: Pid, kind: &str) -> io::Result<OwnedFd> {
    let path = format!("/proc/{}/ns/{kind}", pid.as_raw_pid());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether it is the one of that kind in which this process is.
pub(super) fn is_own(of_another: &OwnedFd, kind: &str) -> io::Result<bool> {
    let own = namespace(rustix::process::getpid(), kind)?;
    Ok(rustix::fs::fstat(of_another)?.st_ino == rustix::fs::fstat(own)?.st_ino)
}

/// A detached mount of `dir` whose ids are shifted by the user namespace.
pub(super) fn shifted(dir: &Path, users: BorrowedFd<'_>, read_only: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, dir, flags)?;
    let attributes = Attributes { read_only, no_devices: true, id_map: Some(users) };
    sys::mount::set_attributes(mount.as_fd(), attributes)?;
    Ok(mount)
}

/// A detached mount of a file or directory of ours as it is.
pub(super) fn plain(path: &Path, read_only: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, path, flags)?;
    let attributes = Attributes { read_only, no_devices: true, id_map: None };
    sys::mount::set_attributes(mount.as_fd(), attributes)?;
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap_and_end() {
        assert_eq!(first_id(1_000_000, Slot(0)), Some(1_000_000));
        assert_eq!(first_id(1_000_000, Slot(2)), Some(1_131_072));
        assert_eq!(first_id(1_000_000, Slot(65_536)), None);
    }
}

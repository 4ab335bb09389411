//! Attributes of mounts, the shift of user ids among them.
#![expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What to set on a mount; nothing is ever cleared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// Refuse writes.
    pub read_only: bool,
    /// Refuse to open device nodes.
    pub no_devices: bool,
    /// Show ids on disk as this user namespace maps them. The mount must be a
    /// clone that is attached nowhere.
    pub id_map: Option<BorrowedFd<'a>>,
}

/// Sets attributes of the one mount behind `mount`, not of those below it, and parts
/// it from the mounts that it is a clone of: what is mounted on it appears nowhere else.
/// (systemd makes all mounts of a host shared, and a clone is shared as its origin is.)
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: Attributes<'_>) -> io::Result<()> {
    let Attributes { read_only, no_devices, id_map } = attributes;
    let flags = [
        (read_only, libc::MOUNT_ATTR_RDONLY),
        (no_devices, libc::MOUNT_ATTR_NODEV),
        (id_map.is_some(), libc::MOUNT_ATTR_IDMAP),
    ];
    let attr_set = flags.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag);
    let attr = libc::mount_attr {
        attr_set,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: id_map.map_or(0, |fd| i64::from(fd.as_raw_fd()).cast_unsigned()),
    };
    // SAFETY: the empty path is a C string and `attr` outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! Subvolumes and their limits on btrfs, by ioctl.
#![expect(unsafe_code, reason = "these ioctls have no safe wrapper")]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

const SUBVOL_CREATE: libc::Ioctl = 0x5000_940e;
const SNAP_CREATE_V2: libc::Ioctl = 0x5000_9417;
const SNAP_DESTROY: libc::Ioctl = 0x5000_940f;
const INO_LOOKUP: libc::Ioctl = 0xd000_9412_u32 as libc::Ioctl;
const SUBVOL_GETFLAGS: libc::Ioctl = 0x8008_9419_u32 as libc::Ioctl;
const SUBVOL_SETFLAGS: libc::Ioctl = 0x4008_941a;
const FS_INFO: libc::Ioctl = 0x8400_941f_u32 as libc::Ioctl;
const QUOTA_CTL: libc::Ioctl = 0xc010_9428_u32 as libc::Ioctl;
const QGROUP_CREATE: libc::Ioctl = 0x4010_942a;
const QGROUP_LIMIT: libc::Ioctl = 0x8030_942b_u32 as libc::Ioctl;

const SUBVOL_READ_ONLY: u64 = 2;
/// The inode number of every subvolume's top directory.
const TOP_INODE: u64 = 256;
const MAGIC: u64 = 0x9123_683E;

/// Whether an open file lies on btrfs.
pub fn is_btrfs(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(file)?.f_type.cast_unsigned() == MAGIC)
}

/// Whether an open directory is the top of a subvolume.
pub fn is_subvolume(dir: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(is_btrfs(dir)? && rustix::fs::fstat(dir)?.st_ino == TOP_INODE)
}

/// How a file system counts what each subvolume uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// By who allocated an extent: constant work, kernel 6.7 and newer.
    Simple,
    /// By who refers to an extent: exact, dearer on snapshots.
    Full,
}

/// Switches quotas of one kind on. No error when some kind is on already;
/// `EINVAL` when the kernel does not have this kind.
pub fn enable_quota(fs: BorrowedFd<'_>, kind: Quota) -> io::Result<()> {
    let command: u64 = match kind {
        Quota::Full => 1,
        Quota::Simple => 4,
    };
    let mut args = [command, 0];
    // SAFETY: the argument is a `btrfs_ioctl_quota_ctl_args`, two u64.
    unsafe { call(fs, QUOTA_CTL, &raw mut args) }
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; 4088],
}

fn volume_args(name: &OsStr) -> io::Result<VolumeArgs> {
    let bytes = name.as_bytes();
    let mut args = VolumeArgs { fd: 0, name: [0; 4088] };
    if bytes.is_empty() || bytes.len() > 255 || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    args.name[..bytes.len()].copy_from_slice(bytes);
    Ok(args)
}

/// Makes the subvolume `name` in the directory `parent`.
pub fn create_subvolume(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let mut args = volume_args(name)?;
    // SAFETY: the argument is a `btrfs_ioctl_vol_args` (size checked below) with a zero-ended name.
    unsafe { call(parent, SUBVOL_CREATE, &raw mut args) }
}

/// Makes the subvolume `name` in the directory `parent`, a writable copy of
/// `source` that shares everything with it until one of the two is changed.
pub fn snapshot_subvolume(source: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    /// `struct btrfs_ioctl_vol_args_v2`.
    #[repr(C)]
    struct Args {
        fd: i64,
        transaction: u64,
        flags: u64,
        unused: [u64; 4],
        name: [u8; 4040],
    }
    const _: () = assert!(size_of::<Args>() == 4096);
    let checked = volume_args(name)?;
    let fd = i64::from(source.as_raw_fd());
    let mut args = Args { fd, transaction: 0, flags: 0, unused: [0; 4], name: [0; 4040] };
    args.name[..256].copy_from_slice(&checked.name[..256]);
    // SAFETY: the argument is a `btrfs_ioctl_vol_args_v2` (size checked above) with a
    // zero-ended name; without flags nothing else in it is read.
    unsafe { call(parent, SNAP_CREATE_V2, &raw mut args) }
}

/// Deletes the subvolume `name` in the directory `parent`, with everything in
/// it; the space comes back in the background.
pub fn delete_subvolume(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let mut args = volume_args(name)?;
    // SAFETY: as in `create_subvolume`.
    unsafe { call(parent, SNAP_DESTROY, &raw mut args) }
}

/// The number of the subvolume that an open file or directory lies in.
pub fn subvolume_id(file: BorrowedFd<'_>) -> io::Result<u64> {
    /// `struct btrfs_ioctl_ino_lookup_args`.
    #[repr(C)]
    struct Args {
        tree_id: u64,
        object_id: u64,
        name: [u8; 4080],
    }
    const _: () = assert!(size_of::<Args>() == 4096);
    let mut args = Args { tree_id: 0, object_id: TOP_INODE, name: [0; 4080] };
    // SAFETY: the argument is a `btrfs_ioctl_ino_lookup_args`, size checked above.
    unsafe { call(file, INO_LOOKUP, &raw mut args) }?;
    Ok(args.tree_id)
}

/// Limits what a subvolume may hold, data and metadata together; `None` lifts the limit.
pub fn limit_subvolume(subvolume: BorrowedFd<'_>, max_bytes: Option<u64>) -> io::Result<()> {
    const MAX_REFERENCED: u64 = 1;
    // `btrfs_ioctl_qgroup_limit_args`: group (0: the one of this subvolume), flags,
    // maximum referenced, maximum exclusive, two reservations. u64::MAX clears.
    let mut args = [0, MAX_REFERENCED, max_bytes.unwrap_or(u64::MAX), 0, 0, 0];
    // SAFETY: the argument is a `btrfs_ioctl_qgroup_limit_args`, six u64.
    unsafe { call(subvolume, QGROUP_LIMIT, &raw mut args) }
}

/// Forgets the accounting of a subvolume that is gone. Newer kernels do it by
/// themselves; `EBUSY` while the subvolume's remains are being cleaned up.
pub fn forget_subvolume(fs: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    const REMOVE: u64 = 0;
    let mut args = [REMOVE, id];
    // SAFETY: the argument is a `btrfs_ioctl_qgroup_create_args`, two u64.
    unsafe { call(fs, QGROUP_CREATE, &raw mut args) }
}

/// Makes a subvolume read-only for everybody, or writable again.
pub fn set_read_only(subvolume: BorrowedFd<'_>, read_only: bool) -> io::Result<()> {
    let mut flags = 0_u64;
    // SAFETY: the argument is one u64, which the kernel overwrites.
    unsafe { call(subvolume, SUBVOL_GETFLAGS, &raw mut flags) }?;
    flags = if read_only { flags | SUBVOL_READ_ONLY } else { flags & !SUBVOL_READ_ONLY };
    // SAFETY: the argument is one u64.
    unsafe { call(subvolume, SUBVOL_SETFLAGS, &raw mut flags) }
}

/// The identity of the file system, spelled as in `/sys/fs/btrfs`.
pub fn file_system_id(fs: BorrowedFd<'_>) -> io::Result<String> {
    /// `struct btrfs_ioctl_fs_info_args`, of which only the id matters here.
    #[repr(C)]
    struct Args {
        max_id: u64,
        devices: u64,
        id: [u8; 16],
        rest: [u64; 124],
    }
    const _: () = assert!(size_of::<Args>() == 1024);
    let mut args = Args { max_id: 0, devices: 0, id: [0; 16], rest: [0; 124] };
    // SAFETY: the argument is a `btrfs_ioctl_fs_info_args`, size checked above.
    unsafe { call(fs, FS_INFO, &raw mut args) }?;
    let hex = format!("{:032x}", u128::from_be_bytes(args.id));
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

const _: () = assert!(size_of::<VolumeArgs>() == 4096);

/// # Safety
///
/// `args` must point to the structure that `request` reads and writes.
unsafe fn call<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, args: *mut T) -> io::Result<()> {
    // SAFETY: by this function's contract the kernel stays within `args`; the descriptor is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, args) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! Ranges of files that share their blocks on the disk until one is written.
#![expect(unsafe_code, reason = "this ioctl has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const CLONE_RANGE: libc::Ioctl = 0x4020_940d;

/// `struct file_clone_range`.
#[repr(C)]
struct Args {
    from: i64,
    from_offset: u64,
    len: u64,
    to_offset: u64,
}
const _: () = assert!(size_of::<Args>() == 32);

/// Lets `len` bytes of `to`, from `to_offset` on, be those of `from` from
/// `from_offset` on. All three are multiples of the block, and the range exists.
/// `EOPNOTSUPP` or `EXDEV` where the file system cannot.
pub fn clone_range(
    (from, from_offset): (BorrowedFd<'_>, u64),
    (to, to_offset): (BorrowedFd<'_>, u64),
    len: u64,
) -> io::Result<()> {
    let args = Args { from: from.as_raw_fd().into(), from_offset, len, to_offset };
    // SAFETY: the argument is a `file_clone_range`, size checked above, which the kernel only
    // reads; both descriptors are open while this runs.
    let result = unsafe { libc::ioctl(to.as_raw_fd(), CLONE_RANGE, &raw const args) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

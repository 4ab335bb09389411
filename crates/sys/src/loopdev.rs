//! Loop devices: a file as a block device, released by itself.
#![expect(unsafe_code, reason = "these ioctls have no safe wrapper")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const CTL_GET_FREE: libc::Ioctl = 0x4C82;
const CONFIGURE: libc::Ioctl = 0x4C0A;
const GET_STATUS64: libc::Ioctl = 0x4C05;
const FLAG_AUTOCLEAR: u32 = 4;
const FLAG_DIRECT_IO: u32 = 16;

/// Rounds of looking for a free device while others take them.
const ATTEMPTS: usize = 64;

/// A loop device could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{step} for {}", image.display())]
pub struct Error {
    /// The step in words.
    pub step: &'static str,
    /// The file that was to become a device.
    pub image: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A file as a block device. While this lives the device does; afterwards it
/// lives exactly as long as it is mounted, and the kernel releases it.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    /// Keeps the device from being released between attaching and mounting.
    _device: File,
}

impl LoopDevice {
    /// The device file to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device that `image` is attached to already, or a new one. Taking the
    /// existing one matters: two devices on one image would be two file systems
    /// writing over each other.
    pub fn attach_or_find(image: &Path) -> Result<Self, Error> {
        match Self::find(image)? {
            Some(found) => Ok(found),
            None => Self::attach(image),
        }
    }

    /// Attaches `image` to a free device, with direct input and output where its
    /// file system can do that (otherwise every page is cached twice).
    pub fn attach(image: &Path) -> Result<Self, Error> {
        let fail = |step| move |source| Error { step, image: image.to_owned(), source };
        let backing =
            OpenOptions::new().read(true).write(true).open(image).map_err(fail("opening the image"))?;
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")
            .map_err(fail("opening /dev/loop-control"))?;
        for _ in 0..ATTEMPTS {
            let number = free_number(control.as_fd()).map_err(fail("finding a free loop device"))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(fail("opening a loop device"))?;
            match configure(device.as_fd(), backing.as_fd()) {
                Ok(()) => return Ok(Self { path, _device: device }),
                // Somebody was faster.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
                Err(e) => return Err(fail("configuring a loop device")(e)),
            }
        }
        Err(fail("finding a free loop device")(io::Error::from_raw_os_error(libc::EBUSY)))
    }

    /// The device that `image` is attached to, if there is one.
    pub fn find(image: &Path) -> Result<Option<Self>, Error> {
        let fail = |step| move |source| Error { step, image: image.to_owned(), source };
        let wanted = std::fs::metadata(image).map_err(fail("looking at the image"))?;
        let blocks = std::fs::read_dir("/sys/block").map_err(fail("listing block devices"))?;
        for name in blocks.flatten().map(|entry| entry.file_name()) {
            let Some(name) = name.to_str().filter(|name| name.starts_with("loop")) else { continue };
            if !Path::new("/sys/block").join(name).join("loop/backing_file").exists() {
                continue;
            }
            let path = Path::new("/dev").join(name);
            // A device that vanishes while we look is not ours.
            let Ok(device) = OpenOptions::new().read(true).open(&path) else { continue };
            if backing_file(device.as_fd()).is_ok_and(|(_, inode)| inode == wanted.ino())
                && backing_file(device.as_fd()).is_ok_and(|(dev, _)| same_device(dev, wanted.dev()))
            {
                return Ok(Some(Self { path, _device: device }));
            }
        }
        Ok(None)
    }
}

/// `lo_device` has the kernel's old 16-bit spelling for small numbers and the
/// 32-bit one else; `stat` has the library's 64-bit one. Compare the parts.
fn same_device(kernel: u64, stat: u64) -> bool {
    let major = (kernel >> 8) & 0xfff;
    let minor = (kernel & 0xff) | ((kernel >> 12) & 0xfff00);
    u64::from(libc::major(stat)) == major && u64::from(libc::minor(stat)) == minor
}

fn free_number(control: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: `LOOP_CTL_GET_FREE` takes no argument and touches no memory of ours.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), CTL_GET_FREE) };
    if number < 0 { Err(io::Error::last_os_error()) } else { Ok(number) }
}

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Status {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    status: Status,
    reserved: [u64; 8],
}

const EMPTY: Status = Status {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// Attaches in one step, so that nobody ever sees a device without its flags.
fn configure(device: BorrowedFd<'_>, backing: BorrowedFd<'_>) -> io::Result<()> {
    match configure_with(device, backing, FLAG_AUTOCLEAR | FLAG_DIRECT_IO) {
        // The image's file system cannot do direct input and output.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => configure_with(device, backing, FLAG_AUTOCLEAR),
        other => other,
    }
}

fn configure_with(device: BorrowedFd<'_>, backing: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    const BLOCK_SIZE: u32 = 4096;
    let config = Config {
        fd: backing.as_raw_fd().cast_unsigned(),
        block_size: BLOCK_SIZE,
        status: Status { flags, ..EMPTY },
        reserved: [0; 8],
    };
    // SAFETY: the argument is a `loop_config` (layout checked below) that lives
    // through the call; the kernel only reads it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Device and inode numbers of the file behind a loop device.
fn backing_file(device: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let mut status = EMPTY;
    // SAFETY: the argument is a `loop_info64` (layout checked below) that lives
    // through the call and that the kernel may overwrite with any bytes.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), GET_STATUS64, &raw mut status) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok((status.device, status.inode)) }
}

const _: () = assert!(size_of::<Status>() == 232 && size_of::<Config>() == 304);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_while_attached_and_released_by_itself() {
        if !rustix::process::geteuid().is_root() {
            return crate::skip::skip("loop devices need root");
        }
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(1 << 20).unwrap();
        assert!(LoopDevice::find(&image).unwrap().is_none());
        let device = LoopDevice::attach(&image).unwrap();
        let again = LoopDevice::attach_or_find(&image).unwrap();
        assert_eq!(again.path(), device.path());
        drop((device, again));
        assert!(LoopDevice::find(&image).unwrap().is_none(), "released with its last holder");
    }
}

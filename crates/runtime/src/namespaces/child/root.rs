//! The root of a machine: an overlay of shifted layers, with its own `/proc`,
//! `/sys`, `/dev` and `/run`.
//!
//! What needs the launcher's file systems in sight is made first, as mounts that
//! hang nowhere; then the old root goes, and only then are they hung up. So a
//! template whose directories are hostile links can lead nowhere but into itself.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountFlags, UnmountFlags};
use sys::mount::Attributes;

use super::mounts::{attach, clone_of, detached, make_and_attach};
use crate::namespaces::launcher::{DEVICES, NOTHING};
use crate::namespaces::orders::{MountRoot, Shown, Step, StepFailed};

/// Where the launcher's root keeps a place for us.
const SCRATCH: &str = "/scratch";

/// Where the files that stand in for the host's live.
const SHOWN_DIR: &str = "/run/warren/proc";

/// Terminals of one sandbox. The kernel has 4,096 for the whole host.
const MOST_TERMINALS: &str = "256";

/// Files and directories of `/proc` that tell of the host or act on it. Covered
/// with `/dev/null` or with nothing, as far as they exist.
const HIDDEN_FILES: [&str; 12] = [
    "/proc/cmdline",
    "/proc/interrupts",
    "/proc/kmsg",
    "/proc/modules",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/timer_list",
    "/proc/sysrq-trigger",
    "/proc/latency_stats",
    "/proc/kallsyms",
    "/proc/sched_debug",
];
const HIDDEN_DIRS: [&str; 6] = [
    "/proc/acpi",
    "/proc/pressure",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel",
];
const READ_ONLY: [&str; 5] = ["/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/asound"];

const QUIET: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Builds the root and makes it ours; `layers` are as [`MountRoot`] says.
pub(super) fn build(order: &MountRoot, layers: Vec<OwnedFd>) -> Result<(), StepFailed> {
    overlay(layers)?;
    let devices = DEVICES
        .iter()
        .map(|(name, ..)| clone_of(&Path::new("/dev").join(name)).step("cloning a device node"))
        .collect::<Result<Vec<_>, _>>()?;
    let nothing = clone_of(&Path::new("/dev").join(NOTHING)).step("cloning an empty directory")?;
    let proc = detached("proc", QUIET, &[]).step("making /proc")?;
    let sysfs = detached("sysfs", QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY, &[]).step("making /sys")?;
    enter()?;

    attach(&proc, "/proc").step("mounting /proc")?;
    attach(&sysfs, "/sys").step("mounting /sys")?;
    let size = order.scratch_bytes.to_string();
    device_directory(&devices, &size)?;
    let run = [("mode", "0755"), ("size", &size), ("nr_inodes", "65536")];
    let run = detached("tmpfs", MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV, &run);
    attach(&run.step("making /run")?, "/run").step("mounting /run")?;
    allow_ping();
    protect(&nothing)?;
    show(&order.shown)
}

/// Sets the host name.
pub(super) fn name_host(name: &str) -> Result<(), StepFailed> {
    rustix::system::sethostname(name.as_bytes()).step("setting the host name")
}

/// Shows the sandbox its own subtree, where the host has only version 2.
/// Elsewhere the limits are shown by the files under `/proc` alone.
pub(super) fn mount_cgroups() {
    // A convenience: a program that reads limits there finds them or falls back to /proc.
    let flags = QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY;
    if let Ok(mount) = detached("cgroup2", flags, &[]) {
        let _ = attach(&mount, "/sys/fs/cgroup");
    }
}

/// Mounts the overlay at `SCRATCH/root`.
fn overlay(mut layers: Vec<OwnedFd>) -> Result<(), StepFailed> {
    let writable = layers.pop().ok_or(io::ErrorKind::InvalidInput).step("receiving the layers")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("warren", SCRATCH, "tmpfs", flags, c"mode=0700,size=256k")
        .step("mounting a place to work")?;
    rustix::process::chdir(SCRATCH).step("entering the place to work")?;
    let mut lower = Vec::with_capacity(layers.len());
    for (i, layer) in layers.iter().enumerate() {
        let name = i.to_string();
        make_and_attach(layer, &name).step("attaching a layer")?;
        lower.push(name);
    }
    make_and_attach(&writable, "w").step("attaching the writable layer")?;
    rustix::fs::mkdir("root", Mode::from_raw_mode(0o755)).step("making the root's place")?;
    let options = format!("lowerdir={},upperdir=w/upper,workdir=w/work,userxattr", lower.join(":"));
    let options = CString::new(options).expect("made of digits and letters");
    rustix::mount::mount("overlay", "root", "overlay", MountFlags::NODEV, options.as_c_str())
        .step("mounting the overlay")
}

/// Makes `SCRATCH/root` the root and lets go of the old one.
fn enter() -> Result<(), StepFailed> {
    let old =
        rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("opening the old root")?;
    rustix::process::chdir("root").step("entering the root")?;
    rustix::process::pivot_root(".", ".").step("changing the root")?;
    rustix::process::fchdir(&old).step("entering the old root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step("detaching the old root")?;
    rustix::process::chdir("/").step("entering the new root")
}

fn device_directory(devices: &[OwnedFd], shm_size: &str) -> Result<(), StepFailed> {
    let no_setuid = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = detached("tmpfs", no_setuid, &[("mode", "0755"), ("size", "64k")]).step("making /dev")?;
    attach(&dev, "/dev").step("mounting /dev")?;
    for (device, (name, ..)) in devices.iter().zip(DEVICES) {
        let path = Path::new("/dev").join(name);
        std::fs::File::create(&path).and_then(|_| attach(device, &path)).step("placing a device node")?;
    }
    let options =
        [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5"), ("max", MOST_TERMINALS)];
    let pts = detached("devpts", no_setuid, &options).step("making /dev/pts")?;
    make_and_attach(&pts, "/dev/pts").step("mounting /dev/pts")?;
    let options = [("mode", "1777"), ("size", shm_size), ("nr_inodes", "65536")];
    let shm = detached("tmpfs", QUIET, &options).step("making /dev/shm")?;
    make_and_attach(&shm, "/dev/shm").step("mounting /dev/shm")?;
    let links = [
        ("pts/ptmx", "/dev/ptmx"),
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    for (to, at) in links {
        rustix::fs::symlink(to, at).step("linking in /dev")?;
    }
    Ok(())
}

/// Lets every user send echo requests, for which `ping` needs neither a raw
/// socket nor a file capability (bootstrap tools leave it without one). The
/// setting belongs to the network namespace.
fn allow_ping() {
    // A convenience: without it `ping` works for root only.
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 65535");
}

/// Hides what tells of the host and freezes what acts on it.
fn protect(nothing: &OwnedFd) -> Result<(), StepFailed> {
    for path in READ_ONLY.iter().filter(|p| Path::new(p).exists()) {
        let mount = clone_of(Path::new(path)).step("cloning a part of /proc")?;
        let read_only = Attributes { read_only: true, ..Attributes::default() };
        sys::mount::set_attributes(mount.as_fd(), read_only).step("making a part of /proc read-only")?;
        attach(&mount, path).step("covering a part of /proc")?;
    }
    for path in HIDDEN_FILES.iter().filter(|p| Path::new(p).exists()) {
        let null = clone_of(Path::new("/dev/null")).step("cloning /dev/null")?;
        attach(&null, path).step("hiding a file")?;
    }
    let mut hidden = HIDDEN_DIRS.iter().filter(|p| Path::new(p).exists());
    let Some(first) = hidden.next() else { return Ok(()) };
    attach(nothing, first).step("hiding a directory")?;
    for path in hidden {
        let again = clone_of(Path::new(first)).step("cloning an empty directory")?;
        attach(&again, path).step("hiding a directory")?;
    }
    Ok(())
}

/// Puts files of the sandbox's own over those that would show the host.
fn show(files: &[Shown]) -> Result<(), StepFailed> {
    std::fs::create_dir_all(SHOWN_DIR).step("making the directory of shown files")?;
    for file in files {
        let path = Path::new(SHOWN_DIR).join(&file.name);
        std::fs::write(&path, &file.content).step("writing a shown file")?;
        if Path::new(&file.over).exists() {
            clone_of(&path).and_then(|mount| attach(&mount, &file.over)).step("showing a file")?;
        }
    }
    Ok(())
}

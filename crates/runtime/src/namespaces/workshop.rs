//! The room in which the checkpoint tool works: a process of the launcher's, in a
//! mount namespace with nothing of the host in it but the tool's own tree.
//!
//! So a name that a sandbox chose, or a link in its files, can lead the tool
//! nowhere else. For a restore the sandbox's root is mounted here, and the room
//! stands in the sandbox's control groups, which the restored processes inherit.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Pid;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid,
    move_into_link_name_space, set_capabilities_secure_bits, set_thread_res_gid, set_thread_res_uid,
};
use serde::{Deserialize, Serialize};

use super::child::mounts::{attach, clone_of};
use super::launcher::NOTHING;
use super::message;
use super::orders::{Step, StepFailed};

/// Where the images are.
pub(super) const IMAGES: &str = "/images";
/// Where the root of the sandbox to be restored is.
pub(super) const ROOT: &str = "/root";
/// What is shown as the sandbox's own control groups.
pub(super) const CGROUPS: &str = "/cgroup";

/// How long the tool may be silent. Writing or reading some gigabytes takes a while.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_mins(5);

/// The server's end.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) orders: OwnedFd,
}

impl Room {
    /// The line to the tool.
    pub(super) fn line(&self) -> &OwnedFd {
        &self.orders
    }
}

/// Waits until the tool is gone, so that nothing of it is left in the sandbox's
/// control groups; one that does not go is ended.
pub(super) fn wait_for_end(room: &Room) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: 2, tv_nsec: 0 };
    let mut fds = [PollFd::new(&room.pidfd, PollFlags::IN)];
    if !matches!(poll(&mut fds, Some(&limit)), Ok(1..)) {
        let _ = super::kill(&room.pidfd);
    }
}

/// First order. Its descriptors: the tool's `usr`, the images, and what the task brings.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Furnish {
    /// As whom the tool acts, with every capability.
    pub(super) user: u32,
    pub(super) task: Task,
}

/// What the tool is to do, with further descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// To say what it can do.
    Answer,
    /// To write a sandbox down: from within its network namespace.
    Dump,
    /// To bring one back: with a file that covers one image, the layers, topmost first, and
    /// the writable layer.
    Restore(Sandbox),
}

/// What a restore needs of the sandbox to be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sandbox {
    /// The first of its user ids outside.
    pub(super) first_id: u32,
    /// Which image is covered.
    pub(super) users_image: String,
}

/// Second order, for a restore: the room stands in the control groups.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Placed;

/// What the room answers to the first order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Furnished;

/// Carries out the orders and becomes the tool.
pub(super) fn run(orders: &OwnedFd) -> ! {
    let Err(failed) = work(orders);
    // If even this cannot be said, the server sees the process end.
    let _ = message::send(orders, &failed, &[]);
    sys::clone::exit_now(1)
}

fn work(orders: &OwnedFd) -> Result<Infallible, StepFailed> {
    let Some((furnish, mut mounts)) = message::receive::<Furnish>(orders).step("receiving an order")? else {
        sys::clone::exit_now(1)
    };
    if let Task::Dump = furnish.task {
        let network = mounts.pop().ok_or(io::ErrorKind::InvalidInput).step("receiving a namespace")?;
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .step("entering the sandbox's network")?;
    }
    sys::namespace::new_mount_namespace().step("making a mount namespace")?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step("parting from the launcher's mounts")?;
    build(&furnish, mounts)?;
    enter()?;
    if let Task::Restore(_) = furnish.task {
        message::send(orders, &Furnished, &[]).step("answering")?;
        if message::receive::<Placed>(orders).step("receiving an order")?.is_none() {
            sys::clone::exit_now(1)
        }
        sys::namespace::new_cgroup_namespace().step("making the cgroup namespace")?;
        // Where version 2 is not mounted there is nothing to show.
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
        let _ = rustix::mount::mount("cgroup2", CGROUPS, "cgroup2", flags, None);
    }
    become_tool(orders, furnish.user)
}

fn build(furnish: &Furnish, mounts: Vec<OwnedFd>) -> Result<(), StepFailed> {
    let proc = clone_of(Path::new("/proc")).step("cloning /proc")?;
    let sys = clone_of(Path::new("/sys")).step("cloning /sys")?;
    let dev = clone_of(Path::new("/dev")).step("cloning /dev")?;
    // What the tool found out about the kernel, kept for its next run.
    let run = clone_of(Path::new("/run")).step("cloning /run")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("workshop", "/scratch", "tmpfs", flags, c"mode=0755,size=16m")
        .step("mounting a room")?;
    rustix::process::chdir("/scratch").step("entering the room")?;
    for dir in ["proc", "sys", "dev", "run", "usr", "images", "root", "cgroup", "tmp"] {
        std::fs::create_dir(dir).step("making a directory")?;
    }
    // The tool's helpers work here as users of the sandbox that is to be.
    rustix::fs::chmod("tmp", Mode::from_raw_mode(0o1777)).step("opening /tmp")?;
    for (name, to) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        rustix::fs::symlink(to, name).step("linking")?;
    }
    for (mount, at) in [(&proc, "proc"), (&sys, "sys"), (&dev, "dev"), (&run, "run")] {
        attach(mount, at).step("furnishing the room")?;
    }
    let nothing = clone_of(&Path::new("/dev").join(NOTHING)).step("cloning an empty directory")?;
    attach(&nothing, Path::new("dev").join(NOTHING)).step("furnishing the room")?;
    // The tool wants to see terminals of a host; nobody has one of these open.
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("devpts", "dev/pts", "devpts", quiet, c"newinstance,max=1")
        .step("mounting /dev/pts")?;
    let mut mounts = mounts.into_iter();
    for at in ["usr", "images"] {
        let mount = mounts.next().ok_or(io::ErrorKind::InvalidInput).step("receiving mounts")?;
        attach(&mount, at).step("furnishing the room")?;
    }
    match &furnish.task {
        Task::Restore(sandbox) => root(sandbox, mounts),
        Task::Answer | Task::Dump => Ok(()),
    }
}

/// Mounts the root of a sandbox from layers that are shifted to its ids.
fn root(sandbox: &Sandbox, mut mounts: impl Iterator<Item = OwnedFd>) -> Result<(), StepFailed> {
    let users = mounts.next().ok_or(io::ErrorKind::InvalidInput).step("receiving mounts")?;
    attach(&users, Path::new("images").join(&sandbox.users_image)).step("covering an image")?;
    let mut names = Vec::new();
    for (i, layer) in mounts.enumerate() {
        let name = i.to_string();
        std::fs::create_dir(&name).step("making a directory")?;
        attach(&layer, &name).step("attaching a layer")?;
        names.push(name);
    }
    let writable = names.pop().ok_or(io::ErrorKind::InvalidInput).step("receiving the layers")?;
    let options =
        format!("lowerdir={},upperdir={writable}/upper,workdir={writable}/work,userxattr", names.join(":"));
    let options = CString::new(options).expect("made of digits and letters");
    // The overlay writes as who mounted it, and the layers know only the sandbox's ids.
    let (user, group) = (Uid::from_raw(sandbox.first_id), Gid::from_raw(sandbox.first_id));
    set_thread_res_gid(Gid::ROOT, group, Gid::ROOT).step("becoming the sandbox's group")?;
    set_thread_res_uid(Uid::ROOT, user, Uid::ROOT).step("becoming the sandbox's user")?;
    let mounted = rustix::mount::mount("overlay", "root", "overlay", MountFlags::NODEV, options.as_c_str());
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).step("becoming root again")?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).step("becoming root again")?;
    mounted.step("mounting the root")
}

/// Makes the room the root and lets go of the launcher's.
fn enter() -> Result<(), StepFailed> {
    let old =
        rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("opening the old root")?;
    rustix::process::pivot_root(".", ".").step("changing the root")?;
    rustix::process::fchdir(&old).step("entering the old root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step("detaching the old root")?;
    rustix::process::chdir("/").step("entering the new root")
}

/// Takes another user on, and keeps every capability over the coming `exec`. Who
/// made a user namespace may do everything in it, also what the host's root may
/// not where it lacks a capability (containers mostly lack `CAP_SYS_RESOURCE`).
fn become_owner(user: u32) -> Result<(), StepFailed> {
    if user == 0 {
        return Ok(());
    }
    let all = rustix::thread::capabilities(None).step("reading capabilities")?.permitted;
    let sets = CapabilitySets { effective: all, permitted: all, inheritable: all };
    rustix::thread::set_capabilities(None, sets).step("keeping capabilities")?;
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if all.contains(capability) {
            rustix::thread::configure_capability_in_ambient_set(capability, true)
                .step("keeping a capability")?;
        }
    }
    // All three: Linux before 6.16 takes an `exec` under two user ids for one of a
    // set-user-id program, and lets the ambient capabilities go.
    let user = Uid::from_raw(user);
    set_thread_res_uid(user, user, user).step("becoming the owner")
}

fn become_tool(orders: &OwnedFd, user: u32) -> Result<Infallible, StepFailed> {
    sys::signal::reset_all();
    become_owner(user)?;
    set_capabilities_secure_bits(CapabilitiesSecureBits::empty()).step("resetting the secure bits")?;
    sys::clone::close_on_exec_from(3).step("closing what the tool must not have")?;
    rustix::io::fcntl_setfd(orders.as_fd(), FdFlags::empty()).step("keeping the line")?;
    let line = std::os::fd::AsRawFd::as_raw_fd(orders).to_string();
    let failed = Command::new("/usr/sbin/criu")
        .args(["swrk", &line])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("XDG_RUNTIME_DIR", "/run")
        .exec();
    Err(failed).step("executing the checkpoint tool")
}

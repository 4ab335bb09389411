//! Making processes: a plain copy of ourselves, and one in namespaces of its own.
//!
//! Both are meant for programs that are single-threaded at that moment (a fresh
//! server, the launcher): in a copy of a multi-threaded process, locks held by
//! other threads stay locked for ever. That is a hang, never a memory error.
#![expect(unsafe_code, reason = "fork and clone3 have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Which side of the copy we are.
#[derive(Debug)]
pub enum Copy<P> {
    /// The process that asked, with what it learns of the new one.
    Parent(P),
    /// The new process.
    Child,
}

/// A process made by [`clone`].
#[derive(Debug)]
pub struct Cloned {
    /// Its id as the caller sees it.
    pub pid: Pid,
    /// Stands for exactly this process, also when its id is reused.
    pub pidfd: OwnedFd,
}

/// Copies the calling process. The child must leave by `exec` or `exit`.
pub fn fork() -> io::Result<Copy<Pid>> {
    // SAFETY: fork takes no pointers; the C library repairs its own locks in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid).map_or(Copy::Child, Copy::Parent)),
    }
}

/// Namespaces that a new sandbox gets at birth. The cgroup namespace is not
/// among them: it has to be made after the process stands in its cgroups.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWTIME;

/// `linux/sched.h`; the C library crate's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Copies the calling process into new user, mount, pid, network, host name,
/// IPC and time namespaces, and, if one is given, into a version 2 cgroup.
pub fn clone(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Copy<Cloned>> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = i64::from(NAMESPACES | libc::CLONE_PIDFD).cast_unsigned();
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let args = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd).addr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: i64::from(libc::SIGCHLD).cast_unsigned(),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| i64::from(fd.as_raw_fd()).cast_unsigned()),
    };
    // SAFETY: the arguments and the integer behind `pidfd` outlive the call; with
    // neither a stack nor CLONE_VM the child continues on a copy of this one.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Copy::Child),
        pid => {
            // SAFETY: on success the kernel stored a new descriptor there, owned by nobody else.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Copy::Parent(Cloned { pid, pidfd }))
        }
    }
}

/// Closes, at the next `exec`, every descriptor from `first` on.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now, so no owner loses its descriptor.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor but `keep` and the standard three: for a fresh
/// [`fork`]ed process that will never use what its parent had open.
pub fn close_all_but(keep: BorrowedFd<'_>) -> io::Result<()> {
    let keep = keep.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, keep.saturating_sub(1)), (keep + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: the copy's values that own these descriptors are never touched
        // again: its caller runs one function that never returns.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Leaves at once, without running anything that the parent registered.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes a number and does not return.
    unsafe { libc::_exit(status) }
}

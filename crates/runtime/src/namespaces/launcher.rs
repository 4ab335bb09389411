//! The launcher: a small process that clones machines.
//!
//! Forked before the server has threads, it stays single-threaded, so that what
//! runs between clone and exec may be ordinary code, and small, so that a clone
//! is cheap. Its root is a tmpfs with nothing in it but what a machine's start
//! needs: a whole `/proc` and `/sys` (the kernel allows a user namespace to mount
//! its own only where it can see one already) and the device nodes. It ends when
//! the server does, because their socket closes; machines stay.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{FileType, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use sys::clone::{Cloned, Copy};

use super::child;
use super::message;

/// Names of the device nodes that machines get, with their numbers.
pub(super) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// A clone takes about a millisecond; a launcher that is silent for this long is lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The server's half.
#[derive(Debug)]
pub struct Launcher {
    socket: Mutex<OwnedFd>,
}

/// A process that waits behind the first barriers for its orders.
#[derive(Debug)]
pub(super) struct Newborn {
    /// Its id as the server sees it.
    pub(super) pid: Pid,
    /// Stands for the process.
    pub(super) pidfd: OwnedFd,
    /// Orders go in, a failure comes out; closed by its `exec`.
    pub(super) orders: OwnedFd,
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// Whether the second descriptor is a cgroup to be born in.
    in_cgroup: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Born { pid: i32 },
    Failed { errno: Option<i32> },
}

impl Launcher {
    /// Forks the launcher. To be called before the process starts its first
    /// thread. Fails where the caller may not mount.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = message::pair()?;
        match sys::clone::fork()? {
            Copy::Child => {
                drop(ours);
                let status = i32::from(run(&theirs).is_err());
                sys::clone::exit_now(status)
            }
            Copy::Parent(pid) => {
                drop(theirs);
                message::set_deadline(ours.as_fd(), ANSWER_LIMIT)?;
                let ready: Option<(Result<(), String>, _)> = message::receive(&ours)?;
                match ready {
                    Some((Ok(()), _)) => Ok(Self { socket: Mutex::new(ours) }),
                    Some((Err(reason), _)) => Err(io::Error::other(reason)),
                    None => Err(io::Error::other(format!("the launcher (process {pid}) died at its start"))),
                }
            }
        }
    }

    /// Clones a process that waits for orders. Blocks for about a millisecond.
    pub(super) fn clone(&self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Newborn> {
        let (orders, theirs) = message::pair()?;
        message::set_deadline(orders.as_fd(), ANSWER_LIMIT)?;
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(theirs.as_fd()).chain(cgroup).collect();
        // A poisoned lock only says that another caller panicked; the socket is still in step,
        // because one request and its answer happen without a panic in between.
        let socket = self.socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        message::send(&*socket, &Request { in_cgroup: cgroup.is_some() }, &fds)?;
        let answer = message::receive(&*socket)?;
        drop(socket);
        match answer {
            Some((Answer::Born { pid }, mut fds)) if !fds.is_empty() => {
                let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
                Ok(Newborn { pid, pidfd: fds.remove(0), orders })
            }
            Some((Answer::Failed { errno }, _)) => {
                Err(errno.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error))
            }
            _ => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the launcher is gone")),
        }
    }
}

/// The launcher's life. Returns only on failure before it is ready.
fn run(server: &OwnedFd) -> io::Result<()> {
    let ready = enter_own_root(server);
    let said: Result<(), String> = ready.as_ref().map(|()| ()).map_err(ToString::to_string);
    message::send(server, &said, &[])?;
    ready?;
    while let Some((request, fds)) = message::receive::<Request>(server)? {
        if let Some(answer) = serve(server, &request, fds)? {
            message::send(server, &answer, &[])?;
        }
    }
    sys::clone::exit_now(0)
}

/// Clones one machine. In the child this never returns.
fn serve(server: &OwnedFd, request: &Request, fds: Vec<OwnedFd>) -> io::Result<Option<Answer>> {
    let mut fds = fds.into_iter();
    let orders = fds.next().ok_or(io::ErrorKind::InvalidData)?;
    let cgroup = fds.next().filter(|_| request.in_cgroup);
    match sys::clone::clone(cgroup.as_ref().map(AsFd::as_fd)) {
        Ok(Copy::Child) => child::run(orders),
        Ok(Copy::Parent(Cloned { pid, pidfd })) => {
            message::send(server, &Answer::Born { pid: pid.as_raw_pid() }, &[pidfd.as_fd()])?;
            Ok(None)
        }
        Err(e) => Ok(Some(Answer::Failed { errno: e.raw_os_error() })),
    }
}

fn enter_own_root(server: &OwnedFd) -> io::Result<()> {
    sys::clone::close_all_but(server.as_fd())?;
    sys::signal::ignore_child_exits();
    rustix::process::setsid()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Only a hint for people who read process lists.
    let _ = rustix::thread::set_name(c"warren-launcher");
    sys::namespace::new_mount_namespace()?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // `/tmp` is only the place where the new root is hung up for a moment.
    let private = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("warren", "/tmp", "tmpfs", private, c"mode=0755,size=256k")?;
    rustix::process::chdir("/tmp")?;
    for dir in ["proc", "sys", "dev", "scratch"] {
        std::fs::create_dir(dir)?;
    }
    for (name, major, minor) in DEVICES {
        let device = rustix::fs::makedev(major, minor);
        let path = Path::new("dev").join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )?;
        // The umask has cut the mode.
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o666))?;
    }
    let quiet = private | MountFlags::NODEV;
    rustix::mount::mount("proc", "proc", "proc", quiet, None)?;
    rustix::mount::mount("sysfs", "sys", "sysfs", quiet, None)?;
    let old = rustix::fs::open("/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::pivot_root(".", ".")?;
    rustix::process::fchdir(&old)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

//! The launcher: a small process that clones machines.
//!
//! Forked before the server has threads, it stays single-threaded, so that what
//! runs between clone and exec may be ordinary code, and small, so that a clone
//! is cheap. Its root is a tmpfs with nothing in it but what a machine's start
//! needs: a whole `/proc` and `/sys` (the kernel allows a user namespace to mount
//! its own only where it can see one already) and the device nodes. It ends when
//! the server does, because their socket closes; machines stay. If it is lost
//! before that, the server starts another, see [`Launcher::or_again`].
//!
//! For the moment of a clone it takes the first user id of the machine. The new
//! user namespace is then that id's and not root's, and what a sandbox uses up of
//! the kernel's allowances per user (inotify, locked memory, queued signals,
//! message queues) is counted there: nothing of it is the host's or a sibling's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FileType, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Pid;
use rustix::thread::{CapabilitiesSecureBits, Uid, set_capabilities_secure_bits, set_thread_res_uid};
use serde::{Deserialize, Serialize};
use sys::clone::{Cloned, Copy};

use super::child;
use super::line::{ANSWER_LIMIT, Line};
use super::message;
use super::workshop::{self, Room};

/// Names of the device nodes that machines get, with their numbers.
pub(super) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Beside them an empty directory, with which machines cover what they are not to
/// see. It is one for all, so that the checkpoint tool has nothing to pack; and it is
/// read-only here, because the tool brings a cover back as it finds it.
pub(super) const NOTHING: &str = "nothing";

/// The server's half.
#[derive(Debug)]
pub struct Launcher {
    /// `None` after the launcher was lost and none took its place.
    line: Mutex<Option<Line>>,
    again: Option<fn() -> Command>,
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
enum Request {
    /// A machine's first process.
    Machine {
        /// User id that the machine's allowances are counted on.
        owner: u32,
        /// Whether the second descriptor is a cgroup to be born in.
        in_cgroup: bool,
    },
    /// A room for the checkpoint tool.
    Room,
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
                Ok(Self { line: Mutex::new(Some(Line::open(ours, pid)?)), again: None })
            }
        }
    }

    /// From now on a launcher that is lost is replaced by this program, which
    /// must do nothing but [`Launcher::serve`].
    #[must_use]
    pub fn or_again(mut self, program: fn() -> Command) -> Self {
        self.again = Some(program);
        self
    }

    /// The life of a launcher that was started as a program; ends with the
    /// server. To be called before the process starts its first thread.
    pub fn serve() -> io::Result<()> {
        let server = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        run(&server)
    }

    /// Clones a process that waits for orders; `owner` is the user outside that it
    /// counts as. Blocks for about a millisecond.
    pub(super) fn clone(&self, owner: u32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Newborn> {
        self.ask(&Request::Machine { owner, in_cgroup: cgroup.is_some() }, cgroup)
    }

    /// Makes a process that waits for the orders of a [`workshop`]; its line is
    /// as patient as the tool's tasks may be long.
    pub(super) fn room(&self) -> io::Result<Room> {
        let Newborn { pid, pidfd, orders } = self.ask(&Request::Room, None)?;
        message::set_deadline(orders.as_fd(), workshop::SILENCE_LIMIT)?;
        Ok(Room { pid, pidfd, orders })
    }

    fn ask(&self, request: &Request, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Newborn> {
        // A poisoned lock only says that another caller panicked; the line is still in step,
        // because one request and its answer happen without a panic in between.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*line {
            match clone_over(open, request, cgroup) {
                Err(Failure::Lost(error)) => {
                    tracing::error!(%error, "the process that clones machines is lost");
                    *line = None;
                }
                Err(Failure::Refused(error)) => return Err(error),
                Ok(newborn) => return Ok(newborn),
            }
        }
        let again = self.again.ok_or_else(|| io::Error::other("the process that clones machines is lost"))?;
        let open = line.insert(Line::redial(again)?);
        tracing::warn!("another process that clones machines took its place");
        clone_over(open, request, cgroup).map_err(|failure| match failure {
            Failure::Lost(error) | Failure::Refused(error) => error,
        })
    }
}

/// Why nothing was cloned.
enum Failure {
    /// The launcher is not to be asked again.
    Lost(io::Error),
    /// The kernel's refusal, or ours.
    Refused(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

fn clone_over(line: &Line, request: &Request, cgroup: Option<BorrowedFd<'_>>) -> Result<Newborn, Failure> {
    let (orders, theirs) = message::pair()?;
    message::set_deadline(orders.as_fd(), ANSWER_LIMIT)?;
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(theirs.as_fd()).chain(cgroup).collect();
    let (answer, mut fds) = line.ask(request, &fds).map_err(Failure::Lost)?;
    match answer {
        Answer::Born { pid } if !fds.is_empty() => {
            let pid = Pid::from_raw(pid).ok_or(Failure::Lost(io::ErrorKind::InvalidData.into()))?;
            Ok(Newborn { pid, pidfd: fds.remove(0), orders })
        }
        Answer::Born { .. } => Err(Failure::Lost(io::ErrorKind::InvalidData.into())),
        Answer::Failed { errno } => {
            let error = errno.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
            Err(Failure::Refused(error))
        }
    }
}

/// The launcher's life. Returns only on failure before it is ready.
fn run(server: &OwnedFd) -> io::Result<()> {
    let ready = enter_own_root(server);
    let said: Result<(), String> = ready.as_ref().copied().map_err(ToString::to_string);
    message::send(server, &said, &[])?;
    ready?;
    while let Some((request, fds)) = message::receive::<Request>(server)? {
        if let Some(answer) = serve(server, &request, fds)? {
            message::send(server, &answer, &[])?;
        }
    }
    sys::clone::exit_now(0)
}

/// Clones one machine, or forks a room. In the child this never returns.
fn serve(server: &OwnedFd, request: &Request, fds: Vec<OwnedFd>) -> io::Result<Option<Answer>> {
    let mut fds = fds.into_iter();
    let orders = fds.next().ok_or(io::ErrorKind::InvalidData)?;
    let made = match *request {
        Request::Machine { owner, in_cgroup } => {
            let cgroup = fds.next().filter(|_| in_cgroup);
            machine(&orders, owner, cgroup.as_ref().map(AsFd::as_fd))
        }
        Request::Room => room(&orders),
    };
    match made {
        Ok((pid, pidfd)) => {
            message::send(server, &Answer::Born { pid: pid.as_raw_pid() }, &[pidfd.as_fd()])?;
            Ok(None)
        }
        Err(e) => Ok(Some(Answer::Failed { errno: e.raw_os_error() })),
    }
}

fn machine(orders: &OwnedFd, owner: u32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<(Pid, OwnedFd)> {
    set_thread_res_uid(Uid::ROOT, Uid::from_raw(owner), Uid::ROOT)?;
    let cloned = sys::clone::clone(cgroup);
    if !matches!(cloned, Ok(Copy::Child)) {
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    }
    match cloned? {
        Copy::Child => child::run(orders),
        Copy::Parent(Cloned { pid, pidfd }) => Ok((pid, pidfd)),
    }
}

fn room(orders: &OwnedFd) -> io::Result<(Pid, OwnedFd)> {
    match sys::clone::fork()? {
        Copy::Child => match sys::clone::close_all_but(orders.as_fd()) {
            Ok(()) => workshop::run(orders),
            Err(_) => sys::clone::exit_now(1),
        },
        Copy::Parent(pid) => {
            // It waits for its orders, so its id is its own.
            Ok((pid, rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?))
        }
    }
}

fn enter_own_root(server: &OwnedFd) -> io::Result<()> {
    sys::clone::close_all_but(server.as_fd())?;
    sys::signal::ignore_child_exits();
    // A change of the user id takes no capability: they are needed to clone into a cgroup.
    set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    rustix::process::setsid()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Only a hint for people who read process lists.
    let _ = rustix::thread::set_name(c"warren-launcher");
    sys::namespace::new_mount_namespace()?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // `/tmp` is only the place where the new root is hung up for a moment.
    let private = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("warren", "/tmp", "tmpfs", private, c"mode=0755,size=1m")?;
    rustix::process::chdir("/tmp")?;
    for dir in ["proc", "sys", "dev", "dev/pts", "run", "scratch"] {
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
    let nothing = Path::new("dev").join(NOTHING);
    std::fs::create_dir(&nothing)?;
    let empty = c"mode=0555,size=4k";
    rustix::mount::mount(NOTHING, &nothing, "tmpfs", quiet | MountFlags::RDONLY, empty)?;
    rustix::mount::mount("proc", "proc", "proc", quiet, None)?;
    rustix::mount::mount("sysfs", "sys", "sysfs", quiet, None)?;
    let old = rustix::fs::open("/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::pivot_root(".", ".")?;
    rustix::process::fchdir(&old)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

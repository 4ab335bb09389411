//! Starting a program with another user, directory, environment and terminal.
//!
//! Written for a small single-threaded helper process that forks on behalf of
//! its parent: the new process becomes a *sibling* of the caller, so that the
//! parent reaps it and the helper may die at any time. Everything the child
//! needs is made before the fork; between fork and exec there are only system
//! calls.
//!
//! `std::process::Command` was tried first: it cannot set supplementary groups
//! on stable, nor a controlling terminal without `pre_exec`, and its child is
//! always a child of the caller.

#![expect(unsafe_code, reason = "fork, dup2 and exec; each block argues its safety")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use rustix::thread::{Gid, Uid};

/// Exit status of a child whose program does not exist, as shells have it.
pub const STATUS_NOT_FOUND: i32 = 127;
/// Exit status of a child whose program cannot be run, as shells have it.
pub const STATUS_NOT_EXECUTABLE: i32 = 126;

/// What to run and as whom.
#[derive(Debug, Clone)]
pub struct Program {
    /// Paths to try in order: the search path applied to the command's name.
    pub candidates: Vec<CString>,
    /// Arguments, the program's name first.
    pub argv: Vec<CString>,
    /// `NAME=value` strings; the whole environment.
    pub env: Vec<CString>,
    /// Directory to start in, entered with the user's rights.
    pub cwd: CString,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Where it stands among its caller's processes.
    pub session: Session,
    /// Written to `oom_score_adj`, so that the kernel prefers it to its parents.
    pub oom_score_adj: i16,
}

/// A process's session and process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Those of its caller.
    Inherit,
    /// The leader of a new group in the caller's session.
    Group,
    /// The leader of a new session, with standard input as its controlling terminal.
    Terminal,
}

/// The step of a start that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Making the status pipe or the process.
    Fork = 1,
    /// Making a group, or a session with a controlling terminal.
    Session = 2,
    /// Putting the three standard descriptors in place.
    Stdio = 3,
    /// Taking the user's ids.
    Credentials = 4,
    /// Entering the directory.
    Cwd = 5,
}

/// A start failed before the program could be tried.
#[derive(Debug, thiserror::Error)]
#[error("{step:?} while starting a process")]
pub struct Error {
    /// Where.
    pub step: Step,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Starts a program as a child of the caller's parent, and returns when it runs
/// (or when the exec failed, which is told like a shell would: a line on
/// standard error and status 126 or 127).
///
/// The caller must not be the first process of its pid namespace, and its
/// parent has to reap.
pub fn spawn_sibling(program: &Program, stdio: [BorrowedFd<'_>; 3]) -> Result<Pid, Error> {
    let fork = |source: io::Error| Error { step: Step::Fork, source };
    let (status_read, status_write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| fork(e.into()))?;
    let child = Child::prepare(program, stdio, &status_write);
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: clone without CLONE_VM and without a stack behaves as fork: the child
    // runs on a copy of this memory. The caller's process is single-threaded by
    // contract; even if it were not, the child below makes only system calls on
    // memory prepared before, takes no lock and ends in exec or _exit. glibc's
    // fork cannot pass CLONE_PARENT.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    if pid < 0 {
        return Err(fork(io::Error::last_os_error()));
    }
    if pid == 0 {
        child.run();
    }
    drop(status_write);
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| fork(io::Error::other("clone returned no process id")))?;
    read_status(&status_read)?;
    Ok(pid)
}

/// Waits until the child's end of the pipe closed (exec) or told a failure.
fn read_status(status: &OwnedFd) -> Result<(), Error> {
    let mut report = [0u8; 5];
    let n = loop {
        match rustix::io::read(status, &mut report) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.map_err(|e| Error { step: Step::Fork, source: e.into() })?,
        }
    };
    if n < report.len() {
        return Ok(());
    }
    let [step, errno @ ..] = report;
    let step = [Step::Session, Step::Stdio, Step::Credentials, Step::Cwd]
        .into_iter()
        .find(|s| *s as u8 == step)
        .unwrap_or(Step::Fork);
    Err(Error { step, source: io::Error::from_raw_os_error(i32::from_ne_bytes(errno)) })
}

/// Everything the child uses, made by the parent.
struct Child<'a> {
    program: &'a Program,
    stdio: [BorrowedFd<'a>; 3],
    status: BorrowedFd<'a>,
    argv: Vec<*const libc::c_char>,
    script_argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    groups: Vec<Gid>,
    oom_score_adj: String,
    not_found: Vec<u8>,
    not_executable: Vec<u8>,
    too_long: Vec<u8>,
}

type Act<'a> = fn(&Child<'a>) -> io::Result<()>;

/// A script without an interpreter line is run by this, as shells do.
const SHELL: &CStr = c"/bin/sh";

impl<'a> Child<'a> {
    fn prepare(program: &'a Program, stdio: [BorrowedFd<'a>; 3], status: &'a OwnedFd) -> Self {
        let name = program.argv.first().map_or(&[][..], |name| name.as_bytes());
        let complaint = |what: &str| [b"--: 1: exec: ", name, b": ", what.as_bytes(), b"\n"].concat();
        // Element 1 is replaced by the path that the kernel refused to run.
        let script = [SHELL.as_ptr(), SHELL.as_ptr()].into_iter();
        let rest = program.argv.iter().skip(1).map(|arg| arg.as_ptr());
        Self {
            program,
            stdio,
            status: status.as_fd(),
            argv: program.argv.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect(),
            script_argv: script.chain(rest).chain([std::ptr::null()]).collect(),
            env: program.env.iter().map(|var| var.as_ptr()).chain([std::ptr::null()]).collect(),
            groups: program.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
            oom_score_adj: program.oom_score_adj.to_string(),
            not_found: complaint("not found"),
            not_executable: complaint("Permission denied"),
            too_long: complaint("Argument list too long"),
        }
    }

    /// The child's whole life: the order is that of what cannot be taken back.
    fn run(mut self) -> ! {
        let _ = self.offer_to_the_oom_killer();
        let steps: [(Step, Act<'a>); 4] = [
            (Step::Session, Self::take_session),
            (Step::Stdio, Self::take_stdio),
            (Step::Credentials, Self::take_credentials),
            (Step::Cwd, |child| Ok(rustix::process::chdir(child.program.cwd.as_c_str())?)),
        ];
        for (step, act) in steps {
            if let Err(error) = act(&self) {
                let mut report = [step as u8; 5];
                report[1..].copy_from_slice(&error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
                let _ = rustix::io::write(self.status, &report);
                exit(STATUS_NOT_EXECUTABLE);
            }
        }
        self.exec()
    }

    /// Raising one's own score needs no right; must happen while `/proc/self` is ours.
    fn offer_to_the_oom_killer(&self) -> io::Result<()> {
        let file =
            rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, self.oom_score_adj.as_bytes())?;
        Ok(())
    }

    fn take_session(&self) -> io::Result<()> {
        match self.program.session {
            Session::Inherit => {}
            Session::Group => rustix::process::setpgid(None, None)?,
            Session::Terminal => {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(self.stdio[0])?;
            }
        }
        Ok(())
    }

    fn take_stdio(&self) -> io::Result<()> {
        for (target, source) in (0..).zip(self.stdio) {
            // SAFETY: dup2 takes any two numbers and fails with an error; this process is a
            // fresh copy in which nothing owns descriptors 0 to 2 that will be used again.
            if unsafe { libc::dup2(source.as_raw_fd(), target) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // The Rust runtime ignores SIGPIPE, and what is ignored stays so across exec.
        // SAFETY: signal takes a valid number and SIG_DFL; no handler is installed.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        Ok(())
    }

    /// Only a privileged process can and has to do this; in tests without
    /// privilege a process keeps its ids.
    fn take_credentials(&self) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() && self.program.uid == rustix::process::getuid().as_raw() {
            return Ok(());
        }
        rustix::thread::set_thread_groups(&self.groups)?;
        let gid = Gid::from_raw(self.program.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        let uid = Uid::from_raw(self.program.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }

    fn exec(&mut self) -> ! {
        let (mut complaint, mut status) = (&self.not_found, STATUS_NOT_FOUND);
        for path in &self.program.candidates {
            // SAFETY: path and all strings are NUL-terminated and owned by `program`; both
            // arrays end with a null pointer. execve returns only on failure.
            unsafe { libc::execve(path.as_ptr(), self.argv.as_ptr(), self.env.as_ptr()) };
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => continue,
                Some(libc::ENOEXEC) => {
                    self.script_argv[1] = path.as_ptr();
                    // SAFETY: as above; `SHELL` is a static string.
                    unsafe { libc::execve(SHELL.as_ptr(), self.script_argv.as_ptr(), self.env.as_ptr()) };
                    complaint = &self.not_executable;
                }
                // Arguments and variables, whatever the path.
                Some(libc::E2BIG) => complaint = &self.too_long,
                _ => complaint = &self.not_executable,
            }
            status = STATUS_NOT_EXECUTABLE;
        }
        let _ = rustix::io::write(self.stdio[2], complaint);
        exit(status)
    }
}

fn exit(status: i32) -> ! {
    // SAFETY: _exit takes any number and runs no handlers, which belong to the parent.
    unsafe { libc::_exit(status) }
}

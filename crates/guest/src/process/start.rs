//! Starting a process: user, directory, environment, pipes or terminal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::tcsetwinsize;
use tokio::sync::{Mutex, mpsc};
use tokio::task::spawn_local;
use tokio::time::Instant;
use wire::control::LogLevel;
use wire::process::{DataEvent, ProcessConfig, PtySize};

use super::endpoint::Endpoint;
use super::input::{Input, winsize};
use super::pump::{self, Output};
use super::running::{Event, Process, raw};
use super::table::Processes;
use crate::exec::{LaunchError, Request, Session};
use crate::fs::path::{PathError, resolve_cwd};
use crate::user::User;

/// Search path of processes if the daemon itself has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to start.
#[derive(Debug)]
pub(crate) struct Spec {
    /// As given by the caller.
    pub(crate) config: ProcessConfig,
    /// As given by the caller.
    pub(crate) tag: Option<String>,
    /// Whose process it is.
    pub(crate) user: User,
    /// Size of its terminal, if it gets one.
    pub(crate) pty: Option<PtySize>,
    /// Whether it gets an input pipe (without a terminal).
    pub(crate) stdin: bool,
    /// When it is killed.
    pub(crate) deadline: Option<Instant>,
}

/// A start was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// No program was named.
    #[error("no command was given")]
    NoCommand,
    /// The directory's path cannot be understood.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The directory is not there.
    #[error("cwd '{0}' does not exist")]
    MissingCwd(String),
    /// Too many processes.
    #[error("the sandbox already runs {0} processes of this service")]
    TooMany(usize),
    /// No pipe, no terminal.
    #[error("error making the pipes of the process: {0}")]
    Pipes(#[from] io::Error),
    /// The exec helper's answer.
    #[error("error starting process: {0}")]
    Launch(#[from] LaunchError),
}

impl Processes {
    /// Starts a process and subscribes to it before anything can be lost. Goes on
    /// to its end when the returned future is dropped.
    pub(crate) async fn start(
        self: &Rc<Self>,
        spec: Spec,
    ) -> Result<(Rc<Process>, mpsc::Receiver<Event>), StartError> {
        let this = Rc::clone(self);
        match spawn_local(async move { this.start_now(spec).await }).await {
            Ok(result) => result,
            Err(error) => Err(io::Error::other(error).into()),
        }
    }

    fn tell_start(&self, pid: Pid, spec: &Spec) {
        let command = std::iter::once(&spec.config.cmd).chain(&spec.config.args);
        let command = command.map(String::as_str).collect::<Vec<_>>().join(" ");
        let facts = [("pid", raw(pid).to_string()), ("user", spec.user.name.clone()), ("command", command)];
        self.journal.note(LogLevel::Info, "process", "Process started", &facts);
    }

    async fn start_now(
        self: Rc<Self>,
        spec: Spec,
    ) -> Result<(Rc<Process>, mpsc::Receiver<Event>), StartError> {
        if spec.config.cmd.is_empty() {
            return Err(StartError::NoCommand);
        }
        if self.list_len() >= self.bounds.processes {
            return Err(StartError::TooMany(self.bounds.processes));
        }
        let request = self.request(&spec)?;
        let wiring = match spec.pty {
            Some(size) => Wiring::pty(size, &spec.user)?,
            None => Wiring::pipes(spec.stdin)?,
        };
        let starting = self.reaper.starting();
        let pid = self.launcher.launch(&request, wiring.theirs).await?;
        let exit = starting.started(pid);
        self.tell_start(pid, &spec);
        let process =
            Rc::new(Process::new(pid, spec.config, spec.tag, wiring.input, Arc::clone(self.reaper.oom())));
        let events = process.subscribe();
        self.add(Rc::clone(&process));
        if let Some(deadline) = spec.deadline {
            spawn_local(kill_at(deadline, Rc::downgrade(&process)));
        }
        spawn_local(pump::run(self, Rc::clone(&process), wiring.outputs, exit));
        Ok((process, events))
    }

    fn request(&self, spec: &Spec) -> Result<Request, StartError> {
        let workdir = self.settings.get().default_workdir.clone();
        let cwd = resolve_cwd(spec.config.cwd.as_deref(), &spec.user, workdir.as_deref())?;
        if let Err(error) = std::fs::metadata(&cwd)
            && matches!(error.kind(), io::ErrorKind::NotFound)
        {
            return Err(StartError::MissingCwd(cwd));
        }
        let argv = std::iter::once(&spec.config.cmd).chain(&spec.config.args).cloned().collect();
        Ok(Request {
            argv,
            env: environment(self.settings.envs(), &spec.user, &spec.config.envs).into_iter().collect(),
            cwd,
            uid: spec.user.uid,
            gid: spec.user.gid,
            groups: spec.user.groups(),
            session: if spec.pty.is_some() { Session::Terminal } else { Session::Inherit },
        })
    }
}

/// The whole environment of a process; later ones win: the user's, the
/// sandbox's, the caller's. Nothing else of the daemon's own is passed on.
pub(crate) fn environment(
    sandbox: BTreeMap<String, String>,
    user: &User,
    caller: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    let own = [
        ("PATH", path),
        ("HOME", user.home.clone()),
        ("USER", user.name.clone()),
        ("LOGNAME", user.name.clone()),
    ];
    let mut env: BTreeMap<String, String> = own.map(|(name, value)| (name.to_owned(), value)).into();
    env.extend(sandbox);
    env.extend(caller.clone());
    env
}

/// Both ends of a process's standard descriptors.
struct Wiring {
    theirs: [OwnedFd; 3],
    input: Input,
    outputs: [Output; 2],
}

impl Wiring {
    fn pipes(stdin: bool) -> io::Result<Self> {
        let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let (their_stdin, input) = if stdin {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            (theirs, Input::Pipe(Mutex::new(Some(Endpoint::pipe(ours)?))))
        } else {
            (File::open("/dev/null")?.into(), Input::Nothing)
        };
        Ok(Self {
            theirs: [their_stdin, their_stdout, their_stderr],
            input,
            outputs: [
                Output::new(Rc::new(Endpoint::pipe(stdout)?), DataEvent::Stdout),
                Output::new(Rc::new(Endpoint::pipe(stderr)?), DataEvent::Stderr),
            ],
        })
    }

    fn pty(size: PtySize, user: &User) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, winsize(size))?;
        let slave = open_slave(&master)?;
        // Programs such as `mesg` and `screen` want to own their terminal; not vital.
        let _ = rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(user.uid)), None);
        let theirs = [slave.try_clone()?, slave.try_clone()?, slave];
        let master = Rc::new(Endpoint::pty(master)?);
        Ok(Self {
            theirs,
            input: Input::Pty(Rc::clone(&master), Mutex::new(())),
            outputs: [Output::new(master, DataEvent::Pty), Output::none()],
        })
    }
}

/// By the master itself where the kernel can: the path may lie in another mount.
fn open_slave(master: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    if let Ok(slave) = ioctl_tiocgptpeer(master, flags) {
        return Ok(slave);
    }
    let path = rustix::pty::ptsname(master, Vec::new())?;
    Ok(rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?)
}

async fn kill_at(deadline: Instant, process: std::rc::Weak<Process>) {
    tokio::time::sleep_until(deadline).await;
    if let Some(process) = process.upgrade() {
        // The only failure is that it is gone already.
        let _ = process.signal(Signal::KILL);
    }
}

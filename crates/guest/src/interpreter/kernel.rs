//! One living kernel: its process, its sockets, and one request at a time.
//!
//! ```text
//! start: spawn → sockets bound → connected → both answers to kernel_info seen
//! ```
//!
//! The last step matters: only when the broadcast of a request's end was seen is
//! the subscription in force, so that no output can be lost. Dropping a kernel
//! kills its process group and removes its directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::config::{InterpreterConfig, MAX_MESSAGE, START};
use super::message::{Incoming, Outgoing, Status, Visibility};
use super::pump::{Channel, Event, Focus, pump};
use super::spawn::{KernelCommand, KernelProcess, KernelSignal};
use super::zmtp::{self, Kind, Reader, Writer};

/// Why a kernel did not come up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Its directory or connection file could not be made.
    #[error("prepare {path}")]
    Prepare { path: PathBuf, source: io::Error },
    /// Its process could not be started.
    #[error("start {program}")]
    Spawn { program: PathBuf, source: io::Error },
    /// It ended before it answered.
    #[error("the kernel ended before it answered: {how}. {words}")]
    Ended { how: String, words: String },
    /// It did not answer in time.
    #[error("the kernel did not answer within {} s", START.as_secs())]
    Silent,
}

/// A kernel that answers.
#[derive(Debug)]
pub(super) struct Kernel {
    process: Box<dyn KernelProcess>,
    shell: Writer,
    /// Never written to again, but its end would end the subscription.
    _subscription: Writer,
    events: mpsc::Receiver<Event>,
    focus: Focus,
    session: String,
    current: String,
    dead: Arc<AtomicBool>,
    /// Variables set inside so far, beyond those of the image.
    pub(super) envs: BTreeMap<String, String>,
    _pumps: JoinSet<()>,
    _dir: Dir,
}

impl Kernel {
    /// Starts a kernel in `cwd` and waits until it answers. `on_death` is called
    /// when its sockets end.
    pub(super) async fn start(
        config: &InterpreterConfig,
        cwd: &Path,
        on_death: impl Fn() + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let dir = Dir::make(&config.run_dir)?;
        let envs = (config.envs)();
        let command = command(config, cwd, &dir.connection_file()?, envs.clone());
        let mut process = config
            .spawn
            .spawn(command)
            .await
            .map_err(|source| Error::Spawn { program: config.python.clone(), source })?;
        let deadline = Instant::now() + START;
        let sockets = tokio::select! {
            sockets = Sockets::connect(&dir, deadline) => sockets?,
            how = process.ended() => return Err(Error::Ended { how, words: process.last_words() }),
        };
        let mut kernel = Self::assemble(process, sockets, dir, envs, on_death);
        kernel.greet(deadline).await?;
        Ok(kernel)
    }

    fn assemble(
        process: Box<dyn KernelProcess>,
        sockets: Sockets,
        dir: Dir,
        envs: BTreeMap<String, String>,
        on_death: impl Fn() + Clone + Send + 'static,
    ) -> Self {
        let (sender, events) = mpsc::channel(1);
        let focus = Focus::default();
        let dead = Arc::new(AtomicBool::new(false));
        let closed = {
            let dead = Arc::clone(&dead);
            move || {
                dead.store(true, Ordering::Relaxed);
                on_death();
            }
        };
        let mut pumps = JoinSet::new();
        pumps.spawn(pump(sockets.replies, Channel::Shell, focus.clone(), sender.clone(), closed.clone()));
        pumps.spawn(pump(sockets.broadcasts, Channel::Broadcast, focus.clone(), sender, closed));
        Self {
            process,
            shell: sockets.shell,
            _subscription: sockets.subscription,
            events,
            focus,
            session: uuid::Uuid::new_v4().simple().to_string(),
            current: String::new(),
            dead,
            envs,
            _pumps: pumps,
            _dir: dir,
        }
    }

    /// Asks until an answer came both ways. The first questions' broadcasts may be
    /// lost, as the subscription travels on another socket than the question.
    async fn greet(&mut self, deadline: Instant) -> Result<(), Error> {
        const PATIENCE: Duration = Duration::from_millis(250);
        while Instant::now() < deadline && !self.is_dead() {
            let question = Outgoing::kernel_info(&self.session);
            if self.ask(&question).await.is_err() {
                break;
            }
            let until = (Instant::now() + PATIENCE).min(deadline);
            if let Ok(answered) = timeout_at(until, self.both_halves()).await {
                if answered {
                    return Ok(());
                }
                break;
            }
        }
        if self.is_dead() {
            let how = self.end().await;
            return Err(Error::Ended { how, words: self.process.last_words() });
        }
        Err(Error::Silent)
    }

    /// Waits for reply and idle; false if the kernel died. What else comes is dropped.
    pub(super) async fn both_halves(&mut self) -> bool {
        let mut halves = Halves::default();
        while !halves.both() {
            match self.event().await {
                Event::Message(channel, message) => halves.note(channel, &message),
                Event::Closed => return false,
            }
        }
        true
    }

    /// Sends an execution and makes it the one whose messages [`Self::event`] gives.
    pub(super) async fn execute(&mut self, code: &str, visibility: Visibility) -> io::Result<()> {
        let request = Outgoing::execute(&self.session, code, visibility);
        self.ask(&request).await
    }

    async fn ask(&mut self, request: &Outgoing) -> io::Result<()> {
        self.forget();
        self.focus.set(&request.id);
        self.current.clone_from(&request.id);
        // A kernel that reads nothing for this long is stuck for good.
        timeout(START, self.shell.send(&request.frames()))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The next event of the current request. Cancel-safe. [`Event::Closed`] comes
    /// after everything that was sent before the kernel's end.
    pub(super) async fn event(&mut self) -> Event {
        // How long the second socket may outlive the first.
        const LATE: Duration = Duration::from_millis(300);
        loop {
            let next = if self.is_dead() {
                timeout(LATE, self.events.recv()).await.unwrap_or_default()
            } else {
                self.events.recv().await
            };
            match next {
                Some(Event::Message(channel, message)) if message.parent == self.current => {
                    return Event::Message(channel, message);
                }
                Some(_) => {}
                None => return Event::Closed,
            }
        }
    }

    /// Forgets the current request: its late messages are dropped. A pump that waits
    /// with one gets room for it, so that it reads on and sees the kernel's end.
    pub(super) fn forget(&mut self) {
        self.focus.set("");
        self.current.clear();
        while self.events.try_recv().is_ok() {}
    }

    /// Interrupts what runs.
    pub(super) fn interrupt(&self) -> io::Result<()> {
        self.process.signal(KernelSignal::Interrupt)
    }

    /// Whether its sockets ended. It may only be thrown away then.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Kills it and waits for its end.
    pub(super) async fn end_now(&mut self) {
        _ = self.process.signal(KernelSignal::Kill);
        _ = self.end().await;
    }

    /// Kills what is left of it and says how it ended.
    pub(super) async fn end(&mut self) -> String {
        const PATIENCE: Duration = Duration::from_millis(500);
        self.dead.store(true, Ordering::Relaxed);
        if let Ok(how) = timeout(PATIENCE, self.process.ended()).await {
            _ = self.process.signal(KernelSignal::Kill);
            return how;
        }
        // It closed its sockets but lives: nobody can talk to it any more.
        _ = self.process.signal(KernelSignal::Kill);
        _ = timeout(PATIENCE, self.process.ended()).await;
        "it closed its connections".to_owned()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // A group that is gone is no error, and there is nobody to tell of another.
        _ = self.process.signal(KernelSignal::Kill);
    }
}

/// The two signs that a request is done: its reply, and the broadcast `idle`. Their
/// order is not given, and either alone comes before the last output.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Halves {
    pub(super) replied: bool,
    pub(super) idle: bool,
}

impl Halves {
    pub(super) fn both(self) -> bool {
        self.replied && self.idle
    }

    pub(super) fn note(&mut self, channel: Channel, message: &Incoming) {
        match channel {
            Channel::Shell => self.replied |= message.kind.ends_with("_reply"),
            Channel::Broadcast if message.kind == "status" => {
                self.idle |=
                    message.content::<Status>().is_some_and(|status| status.execution_state == "idle");
            }
            Channel::Broadcast => {}
        }
    }
}

fn command(
    config: &InterpreterConfig,
    cwd: &Path,
    connection_file: &Path,
    env: BTreeMap<String, String>,
) -> KernelCommand {
    // A directory that is not there must not keep the context from existing: the
    // reference's `%cd` only prints then.
    let cwd = [cwd, &config.cwd].into_iter().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    KernelCommand {
        program: config.python.clone(),
        args: vec![
            config.launcher.to_string_lossy().into_owned(),
            "-f".to_owned(),
            connection_file.to_string_lossy().into_owned(),
        ],
        env,
        cwd: cwd.to_owned(),
    }
}

const SHELL: u8 = 1;
const BROADCAST: u8 = 2;

struct Sockets {
    shell: Writer,
    replies: Reader,
    subscription: Writer,
    broadcasts: Reader,
}

impl Sockets {
    /// Connects as soon as the kernel has bound its sockets.
    async fn connect(dir: &Dir, deadline: Instant) -> Result<Self, Error> {
        let (broadcasts, subscription) = Self::one(dir, BROADCAST, Kind::Sub, deadline).await?;
        let (replies, shell) = Self::one(dir, SHELL, Kind::Dealer, deadline).await?;
        Ok(Self { shell, replies, subscription, broadcasts })
    }

    async fn one(dir: &Dir, port: u8, kind: Kind, deadline: Instant) -> Result<(Reader, Writer), Error> {
        const PAUSE: Duration = Duration::from_millis(5);
        let path = dir.socket(port);
        loop {
            match timeout_at(deadline, zmtp::connect(&path, kind, MAX_MESSAGE)).await {
                Ok(Ok(pair)) => return Ok(pair),
                Ok(Err(_)) if Instant::now() < deadline => sleep(PAUSE).await,
                _ => return Err(Error::Silent),
            }
        }
    }
}

/// A kernel's directory: its connection file and sockets, for its owner's eyes.
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    fn make(run_dir: &Path) -> Result<Self, Error> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = run_dir.join(&name[..12]);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| Error::Prepare { path: path.clone(), source })?;
        Ok(Self(path))
    }

    fn socket(&self, port: u8) -> PathBuf {
        self.0.join(format!("s-{port}"))
    }

    fn connection_file(&self) -> Result<PathBuf, Error> {
        use std::io::Write as _;
        let path = self.0.join("connection.json");
        // No key: the directory's mode keeps others out, and signing 50 MB of output
        // would cost more than carrying it.
        let text = serde_json::json!({
            "transport": "ipc",
            "ip": self.0.join("s"),
            "shell_port": SHELL,
            "iopub_port": BROADCAST,
            "stdin_port": 3,
            "control_port": 4,
            "hb_port": 5,
            "key": "",
            "signature_scheme": "hmac-sha256",
        });
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.to_string().as_bytes()))
            .map_err(|source| Error::Prepare { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

//! One living kernel: its process, its sockets, and one request at a time.
//!
//! ```text
//! start: spawn → sockets bound → connected → (Jupyter) both answers to kernel_info seen
//! ```
//!
//! The last step matters: only when the broadcast of a request's end was seen is
//! the subscription in force, so that no output can be lost. Dropping a kernel
//! kills its process group and removes its directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::config::{InterpreterConfig, START};
use super::crowd::is_crowd;
use super::language::Dialect;
use super::link::{Ask, Link, Source};
use super::message::{Incoming, Status};
use super::parent::Parent;
use super::place::{self, Place};
use super::programs;
use super::pump::{Channel, Event, Focus, pump};
use super::spawn::{KernelProcess, KernelSignal};

/// Why a kernel did not come up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Its directory or connection file could not be made.
    #[error(transparent)]
    Prepare(#[from] place::Error),
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
    dialect: Dialect,
    link: Link,
    events: mpsc::Receiver<Event>,
    focus: Focus,
    current: String,
    dead: Arc<AtomicBool>,
    /// Variables set inside so far, beyond those of the image.
    pub(super) envs: BTreeMap<String, String>,
    _pumps: JoinSet<()>,
    _place: Place,
}

impl Kernel {
    /// Starts a kernel in `cwd` and waits until it answers. `on_death` is called
    /// when its sockets end.
    pub(super) async fn start(
        config: &InterpreterConfig,
        dialect: Dialect,
        cwd: &Path,
        on_death: impl Fn() + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let place = Place::make(&config.run_dir)?;
        let envs = (config.envs)();
        let command = programs::command(config, dialect, cwd, &place, envs.clone());
        let program = command.program.clone();
        let process = config.spawn.spawn(command).await.map_err(|source| Error::Spawn { program, source })?;
        let mut kernel = Self::meet(process, dialect, place, on_death).await?;
        // A JVM shows its environment only as properties, which it is told like changes.
        kernel.envs = if dialect == Dialect::Java { BTreeMap::new() } else { envs };
        Ok(kernel)
    }

    /// A Python kernel forked by the nursery's `parent`; it has the variables that
    /// the parent was started with.
    pub(super) async fn fork(
        config: &InterpreterConfig,
        parent: &Parent,
        on_death: impl Fn() + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let place = Place::make(&config.run_dir)?;
        let program = config.python.clone();
        let process = parent.fork(&place).await.map_err(|source| Error::Spawn { program, source })?;
        let mut kernel = Self::meet(process, Dialect::Python, place, on_death).await?;
        kernel.envs.clone_from(&parent.envs);
        Ok(kernel)
    }

    /// Waits until the kernel of a process answers.
    async fn meet(
        mut process: Box<dyn KernelProcess>,
        dialect: Dialect,
        place: Place,
        on_death: impl Fn() + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + START;
        let connected = tokio::select! {
            connected = Link::connect(dialect, &place, deadline) => connected.ok_or(Error::Silent)?,
            how = process.ended() => return Err(Error::Ended { how, words: process.last_words() }),
        };
        let mut kernel = Self::assemble(process, dialect, connected, place, on_death);
        if kernel.link.needs_greeting() {
            kernel.greet(deadline).await?;
        }
        Ok(kernel)
    }

    fn assemble(
        process: Box<dyn KernelProcess>,
        dialect: Dialect,
        (link, sources): (Link, Vec<Source>),
        place: Place,
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
        for source in sources {
            pumps.spawn(pump(source, focus.clone(), sender.clone(), closed.clone()));
        }
        Self {
            process,
            dialect,
            link,
            events,
            focus,
            current: String::new(),
            dead,
            envs: BTreeMap::new(),
            _pumps: pumps,
            _place: place,
        }
    }

    /// Asks until an answer came both ways. The first questions' broadcasts may be
    /// lost, as the subscription travels on another socket than the question.
    async fn greet(&mut self, deadline: Instant) -> Result<(), Error> {
        const PATIENCE: Duration = Duration::from_millis(250);
        while Instant::now() < deadline && !self.is_dead() {
            if self.ask(Ask::Hello).await.is_err() {
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

    /// Sends a request and makes it the one whose messages [`Self::event`] gives.
    pub(super) async fn ask(&mut self, ask: Ask<'_>) -> io::Result<()> {
        self.forget();
        let (focus, current) = (&self.focus, &mut self.current);
        let sent = self.link.ask(self.dialect, ask, |id| {
            focus.set(id);
            id.clone_into(current);
        });
        // A kernel that reads nothing for this long is stuck for good.
        timeout(START, sent).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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

    /// Interrupts what runs. A kernel that cannot be told so is dying, which its
    /// sockets tell.
    pub(super) async fn interrupt(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        _ = timeout(PATIENCE, self.link.interrupt()).await;
        _ = self.process.signal(KernelSignal::Interrupt);
    }

    /// Whether its code has become too many processes to be interrupted.
    pub(super) fn is_crowd(&self) -> bool {
        self.process.group().is_some_and(is_crowd)
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

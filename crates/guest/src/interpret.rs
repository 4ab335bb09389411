//! Runs the code interpreter beside the daemon, where the host asks for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_local;
use wire::control::{INTERPRETER_PORT, LogLevel};

use crate::daemon::Daemon;
use crate::http::server::listen;
use crate::interpreter::{InterpreterConfig, Rest, serve};
use crate::journal::Journal;
use crate::kernels::HelperSpawner;

/// The template's virtual environment, else the system's Python.
const PYTHONS: [&str; 2] = ["/usr/local/bin/python", "/usr/bin/python3"];
/// Where the template keeps the interpreter's own files.
const FILES: &str = "/usr/lib/warren/interpreter";
/// Connection files and sockets of kernels.
const RUN_DIR: &str = "/run/warren/kernels";
/// Where code runs, as in the reference, if it is there.
const HOME: &str = "/home/user";
/// A sandbox with no more memory than this starts each Python kernel from nothing:
/// what forks them and the one that waits would take a third of it.
const SMALL: u64 = 512 << 20;
/// Between the end of the service and its next start.
const PAUSE: Duration = Duration::from_secs(1);

/// The interpreter as the daemon knows it.
#[derive(Debug)]
pub(crate) struct Interpreter {
    ready: watch::Receiver<bool>,
    rest: Rest,
}

impl Interpreter {
    /// Starts the service; it is started again whenever it ends.
    pub(crate) fn start(daemon: &Rc<Daemon>) -> Self {
        let (sender, ready) = watch::channel(false);
        let rest = Rest::default();
        let (settings, limits) = (Arc::clone(&daemon.settings), Arc::clone(&daemon.settings));
        let python = PYTHONS.into_iter().find(|path| Path::new(path).exists()).unwrap_or(PYTHONS[0]);
        let config = InterpreterConfig {
            envs: Arc::new(move || settings.envs()),
            ready: sender,
            python: PathBuf::from(python),
            files: PathBuf::from(FILES),
            cwd: PathBuf::from(if Path::new(HOME).is_dir() { HOME } else { "/" }),
            run_dir: PathBuf::from(RUN_DIR),
            forks: Arc::new(move || limits.get().limits.is_none_or(|limits| limits.memory_bytes > SMALL)),
            rest: rest.clone(),
            spawn: Arc::new(HelperSpawner::new(
                Rc::clone(&daemon.launcher),
                Rc::clone(&daemon.reaper),
                Arc::clone(&daemon.journal),
            )),
        };
        spawn_local(tell_when_ready(ready.clone(), Arc::clone(&daemon.journal)));
        spawn_local(keep_running(config, Arc::clone(&daemon.journal)));
        Self { ready, rest }
    }

    /// Whether the default context answers.
    pub(crate) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Gives up what it can make again, before the sandbox is written down.
    pub(crate) async fn rest(&self) {
        self.rest.now().await;
    }
}

async fn tell_when_ready(mut ready: watch::Receiver<bool>, journal: Arc<Journal>) {
    while ready.wait_for(|ready| *ready).await.is_ok() {
        journal.note(LogLevel::Info, "interpreter", "The default context is ready", &[]);
        if ready.wait_for(|ready| !*ready).await.is_err() {
            return;
        }
    }
}

async fn keep_running(config: InterpreterConfig, journal: Arc<Journal>) {
    let address: SocketAddr = (Ipv4Addr::UNSPECIFIED, INTERPRETER_PORT).into();
    loop {
        // Those who ask it for `/health` see it too: it does not answer.
        let end = match listen(&[address]) {
            Ok(mut listeners) => match listeners.pop() {
                Some(listener) => serve(listener, config.clone()).await.err(),
                None => None,
            },
            Err(error) => Some(error),
        };
        let reason = end.map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        journal.note(
            LogLevel::Error,
            "interpreter",
            "The interpreter is started again",
            &[("reason", reason)],
        );
        config.ready.send_replace(false);
        tokio::time::sleep(PAUSE).await;
    }
}

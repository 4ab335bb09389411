//! The daemon put together: its state, its listeners, its tasks.

use std::cell::OnceCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::{JoinSet, LocalSet};
use wire::control::ENVD_PORT;

use crate::bounds::{Bounds, Budget};
use crate::exec::Launcher;
use crate::http::server::{Connections, listen, serve};
use crate::interpret::Interpreter;
use crate::journal::Journal;
use crate::oom::OomLog;
use crate::process::{Processes, Reaper};
use crate::rpc::Polled;
use crate::settings::Settings;
use crate::watch::Hub;
use crate::{control, memory, metrics, procfiles, route, trial};

/// Threads for file transfers and long walks at a time; more wait.
const MAX_BLOCKING_THREADS: usize = 16;

/// How the daemon runs. The default is what the first process of a sandbox uses.
#[derive(Debug, Clone)]
pub struct Options {
    /// Addresses of the port that clients use.
    pub envd_addresses: Vec<SocketAddr>,
    /// Name of the abstract socket that the host uses; `None` opens none.
    pub control_socket: Option<String>,
    /// Accept control connections from this pid namespace too. For tests: inside
    /// a sandbox this would let its users steer their own daemon.
    pub trust_local_control: bool,
    /// The binary that is started as the exec helper.
    pub helper: PathBuf,
    /// Whether to write the files that belong to a sandbox (`/run/e2b`, the
    /// certificate bundle, `/run/warren/proc`). Tests on a host do not.
    pub owns_root: bool,
    /// Answer askers of a trial of checkpoints on this port of loopback.
    pub trial_port: Option<u16>,
    /// How much it holds.
    pub bounds: Bounds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            envd_addresses: vec![
                (Ipv4Addr::UNSPECIFIED, ENVD_PORT).into(),
                (Ipv6Addr::UNSPECIFIED, ENVD_PORT).into(),
            ],
            control_socket: Some(wire::control::SOCKET_NAME.to_owned()),
            trust_local_control: false,
            helper: PathBuf::from("/proc/self/exe"),
            owns_root: true,
            trial_port: None,
            bounds: Bounds::default(),
        }
    }
}

/// Everything that a request may need.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) settings: Arc<Settings>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) processes: Rc<Processes>,
    pub(crate) watches: Rc<Hub>,
    pub(crate) polled: Polled,
    pub(crate) metrics: metrics::Meter,
    pub(crate) launcher: Rc<Launcher>,
    pub(crate) reaper: Rc<Reaper>,
    /// Set by the first init that asks for it.
    pub(crate) interpreter: OnceCell<Interpreter>,
    /// Large messages that are being read or answered.
    pub(crate) messages: Budget,
    pub(crate) options: Options,
}

/// Runs the daemon on this thread until a listener fails.
pub fn run(options: Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .build()?;
    LocalSet::new().block_on(&runtime, run_async(options))
}

/// The same on a `LocalSet` of the caller's. Dropping the future stops the
/// listeners; processes go on.
pub async fn run_async(options: Options) -> io::Result<()> {
    let settings = Arc::new(Settings::default());
    let launcher = Rc::new(Launcher::new(options.helper.clone()));
    let journal = Arc::new(Journal::default());
    let reaper = Rc::new(Reaper::new(Arc::new(OomLog::new(Arc::clone(&journal)))));
    let processes = Rc::new(Processes::new(
        Rc::clone(&launcher),
        Rc::clone(&reaper),
        Arc::clone(&settings),
        Arc::clone(&journal),
        options.bounds,
    ));
    let listeners = listen(&options.envd_addresses)?;
    let control = options.control_socket.as_deref().map(control::listen).transpose()?;
    let daemon = Rc::new(Daemon {
        settings,
        journal,
        processes,
        watches: Rc::new(Hub::new(options.bounds)),
        polled: Polled::default(),
        metrics: metrics::Meter::default(),
        launcher: Rc::clone(&launcher),
        reaper: Rc::clone(&reaper),
        interpreter: OnceCell::new(),
        messages: Budget::new(options.bounds.message_bytes),
        options,
    });

    let mut tasks = JoinSet::new();
    tasks.spawn_local(reaper.run());
    tasks.spawn_local(memory::keep_small());
    // The first command should not pay for the helper's start.
    launcher.ensure_helper().await?;
    let limit = Rc::new(Connections::new(daemon.options.bounds.connections));
    for listener in listeners {
        let (daemon, limit) = (Rc::clone(&daemon), Rc::clone(&limit));
        tasks.spawn_local(async move {
            serve(listener, limit, async move |request| route::answer(&daemon, request).await).await;
            Ok(())
        });
    }
    if daemon.options.owns_root {
        tasks.spawn_local(procfiles::keep_fresh(Rc::clone(&daemon)));
    }
    if let Some(listener) = control {
        tasks.spawn_local(control::serve(listener, Rc::clone(&daemon)));
    }
    if let Some(port) = daemon.options.trial_port {
        tasks.spawn_local(trial::serve(port));
    }
    // None of them ends by itself; if one fails, the daemon is of no use.
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Ok(()),
    }
}

//! `warren up`: the composition root. Puts the parts together, in this order,
//! and takes them apart in the reverse one:
//!
//! ```text
//! settings → backend's helper process (before any thread) → log, state directory, lock
//!   → listeners, certificates → backend → node (adopts what runs) → store, control plane, key
//!   → serving → built-in templates → ready, until a signal
//! ```
//!
//! No rule lives here: a part gets its options and the parts it may call.

pub(crate) mod backend;
pub(crate) mod ca;
mod log;
mod secret;
mod signals;
pub(crate) mod state;
mod templates;
pub(crate) mod tls;
mod traces;
pub(crate) mod trial;
mod welcome;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use control::{App, AppOptions, Seed, SessionOptions};
use model::{ByteSize, Isolation, KilledBy, SessionLimits};
use node::{Handle, NodeOptions, Sandboxes};
use proxy::{Counts, Hosts, Proxy, ProxyOptions};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Flags, Options};
use crate::join::{DEBUG_ID, DebugSandbox, LocalNode, Parts, Routes};
use crate::{guest_layer, listen};
use backend::Ground;
use state::StateDir;

/// How long a stop waits for the end of the debug sandbox.
const DEBUG_END: Duration = Duration::from_secs(5);

/// Arguments of `warren up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Print the settings that hold, as a file for --config, and end.
    #[arg(long)]
    print_config: bool,
}

impl Args {
    /// The settings among them.
    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }
}

/// Runs the server until a signal ends it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let options = config::load(&args.flags)?;
    if args.print_config {
        print!("{}", toml::to_string(&options).context("print the settings")?);
        return Ok(ExitCode::SUCCESS);
    }
    raise_open_files()?;
    let ground = Ground::prepare(options.isolation)?;
    log::start(&options.log_level, options.otlp_endpoint.as_deref())?;
    let state = StateDir::open(&options.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let outcome = runtime.block_on(Box::pin(serve(&options, &state, ground)));
    // Whatever still blocks a thread must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Each connection and each sandbox takes descriptors, and what a process gets
/// by itself (1,024) is only that low for programs that use `select`.
fn raise_open_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raise the limit of open files")
}

async fn serve(options: &Options, state: &StateDir, ground: Ground) -> Result<()> {
    let stop = signals::stop_on_signal()?;
    let listeners = listen::main_ports(&options.listen.main).await?;
    let secured = tls::open(options, state)?;
    crate::cli::doctor::sweep(state.path());
    let backend = ground.open(options, state).await?;
    let (outcome, nothing_runs) = match start_node(options, state, &backend).await {
        Ok((node, guest)) => {
            let around = Around { options, state, backend: &backend, node: &node, secured: secured.as_ref() };
            let outcome = Box::pin(around.serve(listeners, guest, &stop)).await;
            end_debug_sandbox(&node).await;
            node.shutdown(Sandboxes::Leave).await;
            (outcome, node.list().is_empty())
        }
        Err(error) => (Err(error), backend.records_nothing()),
    };
    backend.close(nothing_runs).await;
    outcome
}

async fn start_node(
    options: &Options,
    state: &StateDir,
    backend: &backend::Open,
) -> Result<(Handle, PathBuf)> {
    let guest = guest_layer::ensure(&state.path().join("guest"))?;
    if let backend::Open::Namespaces { machines, .. } = backend {
        trial::sweep(machines, backend.bulk_dir(), &guest).await;
    }
    let node = open_node(options, state, backend, &guest).await?;
    Ok((node, guest))
}

/// What stands before anybody can ask.
struct Around<'a> {
    options: &'a Options,
    state: &'a StateDir,
    backend: &'a backend::Open,
    node: &'a Handle,
    secured: Option<&'a tls::Secured>,
}

impl Around<'_> {
    /// Serves until a signal; nothing of the control plane is left when it returns.
    async fn serve(
        &self,
        listeners: Vec<TcpListener>,
        guest: PathBuf,
        stop: &CancellationToken,
    ) -> Result<()> {
        let Self { options, state, backend, node, secured } = *self;
        let port = listeners[0].local_addr().context("read the port of the first listener")?.port();
        let domain = domain(options, secured, port);
        let counts = Arc::<Counts>::default();
        let app = open_control(options, state, node, domain.clone(), &counts).await?;
        let key = secret::api_key(state, &app).await?;
        app.register_builds(node.templates()).await.context("enter the templates of this machine")?;
        // Before anyone can ask: nothing says yet that all of them are there. A
        // simulation runs nothing, so it has no use for a root.
        if options.isolation != Isolation::Sim {
            app.say_building(Some("looking for the built-in templates".to_owned()));
            templates::offer(&app);
        }
        let mut parts = traffic(options, listeners, secured, node, &app, counts, stop).await;
        try_checkpoints(&mut parts, backend, state, node, guest, stop);
        let ready = ready(options, state, node, &app, stop).await;
        if let Ok(true) = ready {
            let trust = secured.map(|secured| (domain.as_str(), secured.trust.as_ref()));
            welcome::print(options, port, key.as_deref(), trust);
            templates::build_on_demand(state, node, &app, stop).await;
            tracing::info!("stopping; sandboxes run on, a second signal ends the server at once");
        }
        stop.cancel();
        while parts.join_next().await.is_some() {}
        ready.map(drop)
    }
}

/// Beside everything else: serving does not wait for it.
fn try_checkpoints(
    parts: &mut JoinSet<()>,
    backend: &backend::Open,
    state: &StateDir,
    node: &Handle,
    guest_layer: PathBuf,
    stop: &CancellationToken,
) {
    let backend::Open::Namespaces { machines, tool: Some(tool), .. } = backend else { return };
    let tried = trial::Tried {
        machines: Arc::clone(machines),
        node: node.clone(),
        tool: tool.clone(),
        guest_layer,
        state: state.path().to_owned(),
        bulk: backend.bulk_dir().to_owned(),
    };
    parts.spawn(tried.find_out(stop.clone()));
}

/// The debug sandbox is nobody's and is made anew on first use: it does not
/// outlive an orderly end of the server whose ports lead to it.
async fn end_debug_sandbox(node: &Handle) {
    let Ok(id) = DEBUG_ID.parse() else { return };
    match tokio::time::timeout(DEBUG_END, node.kill(&id, KilledBy::Operator)).await {
        Ok(Ok(_) | Err(node::Error::NotFound(_))) => {}
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the debug sandbox runs on until its timeout");
        }
        Err(_) => tracing::warn!("the debug sandbox is not gone yet; the next start removes it"),
    }
}

/// Builds the built-in templates where they are missing; what runs and what is
/// built already can be used meanwhile. `false` when a signal came first.
async fn ready(
    options: &Options,
    state: &StateDir,
    node: &Handle,
    app: &App,
    stop: &CancellationToken,
) -> Result<bool> {
    if options.isolation == Isolation::Sim {
        return Ok(true);
    }
    let all_there = Box::pin(templates::ensure(state, node, app, stop)).await?;
    if all_there {
        app.register_builds(node.templates()).await.context("enter the templates of this machine")?;
        app.say_building(None);
    }
    Ok(all_there)
}

async fn open_node(
    options: &Options,
    state: &StateDir,
    backend: &backend::Open,
    guest: &Path,
) -> Result<Handle> {
    let bulk = backend.bulk_dir().to_owned();
    let capacity = node::measure_capacity(&bulk, options.node.max_sandboxes.min(backend.slots()));
    let capacity = capacity.context("measure what this machine has")?;
    let mut wanted = NodeOptions::new(state.path(), guest, backend.machines(), capacity);
    wanted.bulk_dir = bulk;
    wanted.limits = options.build.limits();
    wanted.warm = options.node.warm_templates;
    wanted.images = options.images.options();
    wanted.ca_bundle = ca::extra(options.extra_ca_file.as_deref())?;
    wanted.limits.output_patience = Duration::from_secs(options.node.output_patience_seconds.into());
    wanted.overcommit = options.node.overcommit();
    let (node, refused) = Handle::open(wanted).await.context("open the node")?;
    for refused in refused {
        tracing::error!(dir = %refused.dir.display(), reason = %refused.reason, "a sandbox was left alone");
    }
    Ok(node)
}

/// Below which each sandbox's ports have names.
fn domain(options: &Options, secured: Option<&tls::Secured>, port: u16) -> String {
    match (&options.api.domain, secured) {
        (Some(domain), Some(_)) => tls::with_port(domain, port),
        (Some(domain), None) => domain.clone(),
        (None, _) => format!("localhost:{port}"),
    }
}

async fn open_control(
    options: &Options,
    state: &StateDir,
    node: &Handle,
    domain: String,
    counts: &Arc<Counts>,
) -> Result<App> {
    let database = state.path().join("warren.db");
    let store = store::Store::open(&database).await.context("open the database")?;
    let mut wanted = AppOptions::new(Seed::new(secret::seed(state)?));
    wanted.admin_token = Some(Seed::new(secret::admin_token(state)?));
    wanted.rate_limits = options.api.rate_limits();
    wanted.logs = Some(store::Logs::open(&state.path().join("logs")).context("open the logs of sandboxes")?);
    wanted.samples = Some(store::Samples::open(&state.path().join("samples")).context("open the samples")?);
    wanted.private_webhooks = options.may_post_privately();
    wanted.require_keys = options.api.require_keys;
    wanted.domain = Some(domain);
    wanted.max_sandboxes = options.api.max_sandboxes;
    wanted.max_lifetime = Duration::from_hours(options.api.max_lifetime_hours);
    wanted.full_pause = match options.api.full_pause {
        config::FullPause::Refuse => control::FullPause::Refuse,
        config::FullPause::Files => control::FullPause::Files,
    };
    wanted.wait_for_interpreter = options.api.wait_for_interpreter;
    wanted.session = session(&options.session)?;
    wanted.node_id.clone_from(&options.instance);
    wanted.gauges = Some(Arc::new(Parts::new(Arc::clone(counts), database)));
    Ok(App::new(wanted, store, Arc::new(LocalNode::new(node.clone()))))
}

pub(crate) fn session(options: &config::Session) -> Result<SessionOptions> {
    let template = |name: &str, key: &str| name.parse().with_context(|| format!("read {key}"));
    let custom = options.custom_template.as_deref();
    Ok(SessionOptions {
        limits: SessionLimits {
            execution: Duration::from_secs(options.execution_seconds),
            idle: Duration::from_secs(options.idle_seconds),
            life: Duration::from_secs(options.life_seconds),
        },
        template: Some(template(&options.template, "session.template")?),
        custom_template: custom.map(|name| template(name, "session.custom_template")).transpose()?,
        max_upload: ByteSize::mib(options.max_upload_mib),
        public_url: options.public_url.clone(),
    })
}

/// Serves every listener (the main ones carry the API and sandbox traffic, the
/// debug ones lead to the debug sandbox and nowhere else) and does the control
/// plane's background work, until `stop`.
async fn traffic(
    options: &Options,
    listeners: Vec<TcpListener>,
    secured: Option<&tls::Secured>,
    node: &Handle,
    app: &App,
    counts: Arc<Counts>,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut parts = JoinSet::new();
    parts.spawn({
        let (app, stop) = (app.clone(), stop.clone());
        async move { app.run(stop).await }
    });
    let hosts = Hosts::new(&options.listen.public_hosts);
    let settings = ProxyOptions { hosts, counts, ..ProxyOptions::default() };
    let main = ProxyOptions { tls: secured.map(|secured| secured.tls.clone()), ..settings.clone() };
    if let Some(secured) = secured {
        let (certificates, stop) = (Arc::clone(&secured.certificates), stop.clone());
        parts.spawn(async move { certificates.renew_until(&stop).await });
    }
    let proxy = Proxy::new(main, Arc::new(Routes::new(node.clone(), app.clone())));
    let api = control::router(app.clone());
    for listener in listeners {
        parts.spawn(proxy.clone().serve(listener, api.clone(), stop.clone()));
    }
    let sessions = control::session_router(app.clone());
    for listener in listen::extra_ports(&options.listen.session, "the session API is").await {
        parts.spawn(proxy.clone().serve(listener, sessions.clone(), stop.clone()));
    }
    for listener in listen::extra_ports(&options.listen.metrics, "measurements are").await {
        let plain = Proxy::new(ProxyOptions::default(), Arc::new(DebugSandbox::new(node.clone())));
        parts.spawn(plain.serve_alone(listener, control::metrics_router(app.clone()), stop.clone()));
    }
    if !options.listen.debug_ports {
        return parts;
    }
    let debug = Proxy::new(settings, Arc::new(DebugSandbox::new(node.clone())));
    let Ok(id) = DEBUG_ID.parse::<model::SandboxId>() else { return parts };
    for (port, listener) in listen::debug_ports().await {
        parts.spawn(debug.clone().serve_debug_port(listener, port, id.clone(), stop.clone()));
    }
    parts
}

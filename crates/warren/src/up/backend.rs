//! The kind of isolation that the settings name, with what it stands on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use model::{ByteSize, Isolation};
use runtime::Backend;
use runtime::namespaces::{self, Criu, Launcher, Namespaces};
use runtime::network::{Network, NetworkConfig};
use runtime::sim::{Sim, World};
use runtime::storage::{Storage, StorageOptions};

use super::state::StateDir;
use crate::config::Options;

/// What has to exist before this process has threads.
#[derive(Debug)]
pub(crate) enum Ground {
    /// The process that clones machines.
    Namespaces(Launcher),
    /// Nothing: machines are simulated.
    Sim,
}

/// A backend and what it stands on.
#[derive(Debug)]
pub(crate) enum Open {
    /// Machines of namespaces.
    Namespaces {
        /// The backend.
        machines: Arc<Namespaces>,
        /// The state file system.
        storage: Arc<Storage>,
        /// The sandboxes' way to the outside.
        network: Arc<Network>,
        /// The checkpoint tool, where there is one.
        tool: Option<PathBuf>,
    },
    /// Machines in this process's memory.
    Sim {
        /// The backend.
        machines: Arc<Sim>,
        /// Where the sandboxes' directories are.
        bulk: PathBuf,
    },
}

impl Ground {
    /// Must be called while this process has a single thread.
    pub(crate) fn prepare(isolation: Isolation) -> Result<Self> {
        match isolation {
            Isolation::Namespaces => {
                refuse_if_lacking()?;
                let launcher = Launcher::start().context("start the process that clones machines")?;
                Ok(Self::Namespaces(launcher.or_again(another_launcher)))
            }
            Isolation::Sim => Ok(Self::Sim),
            other => bail!("isolation {:?} is not supported yet: use namespaces", other.as_str()),
        }
    }

    /// Opens the backend.
    pub(crate) async fn open(self, options: &Options, state: &StateDir) -> Result<Open> {
        match self {
            Self::Namespaces(launcher) => open_namespaces(launcher, options, state).await,
            Self::Sim => {
                tracing::warn!("isolation is simulated: sandboxes run nothing");
                Ok(Open::Sim { machines: Arc::new(Sim::new(World::new())), bulk: state.path().to_owned() })
            }
        }
    }
}

/// This program once more, also after its file was replaced by a newer one: both
/// ends of the line must be of one build.
fn another_launcher() -> std::process::Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg("launcher");
    command
}

/// Says everything that is missing at once, with what to do about it.
fn refuse_if_lacking() -> Result<()> {
    let mut lacking: Vec<_> =
        namespaces::probe().into_iter().filter(|finding| finding.required && !finding.ok).collect();
    if lacking.iter().any(|finding| finding.capability == "root") {
        // Of the rest, only root can tell what the host lacks.
        lacking.retain(|finding| finding.capability == "root");
    }
    let lacking: Vec<String> = lacking
        .iter()
        .map(|finding| format!("\n  {}: {}; {}", finding.capability, finding.detail, finding.advice))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    bail!("this host lacks what sandboxes need (`warren doctor` shows all):{}", lacking.concat())
}

async fn open_namespaces(launcher: Launcher, options: &Options, state: &StateDir) -> Result<Open> {
    let image_size = (options.node.image_gib > 0).then(|| ByteSize::gib(options.node.image_gib));
    let (dir, wanted) = (state.path().to_owned(), StorageOptions { image_size, only: None });
    let storage = tokio::task::spawn_blocking(move || Storage::open(&dir, &wanted)).await;
    let storage =
        Arc::new(storage.context("open the state file system")?.context("open the state file system")?);
    tracing::info!(kind = %storage.kind(), "sandboxes' disks are bounded");
    let network = network_config(options)?;
    let network = Arc::new(Network::start(network).await.context("set up the sandboxes' network")?);
    let criu = criu(options);
    let tool = criu.as_ref().ok().map(Criu::path);
    let wanted = namespaces::Options {
        cgroup_name: options.instance.clone(),
        first_user_id: options.node.first_uid,
        criu,
        rounds: true,
    };
    let machines = Namespaces::open(wanted, launcher, storage.clone(), network.clone());
    let machines = machines.context("open the namespaces backend")?;
    if let Err(reason) = machines.memory_checkpoints() {
        tracing::info!(%reason, "pauses keep files only");
    } else if machines.writes_in_rounds() {
        tracing::info!("large memories are written while their sandboxes go on");
    }
    Ok(Open::Namespaces { machines: Arc::new(machines), storage, network, tool })
}

/// The sandboxes' network as the settings have it.
pub(crate) fn network_config(options: &Options) -> Result<NetworkConfig> {
    Ok(NetworkConfig {
        name: options.instance.clone(),
        interface_prefix: options.network.interface_prefix.clone(),
        range: options.network.range.parse().context("read network.range")?,
        ..NetworkConfig::default()
    })
}

/// The checkpoint tool, or why there is none.
pub(crate) fn criu(options: &Options) -> Result<Criu, String> {
    if let Some(path) = &options.node.criu {
        return Criu::at(path);
    }
    let state = options.state_dir.canonicalize().unwrap_or_else(|_| options.state_dir.clone());
    // Beside the state, beside this program, and above that, where a build puts it.
    let program = std::env::current_exe().unwrap_or_default();
    let around = [state.parent(), program.parent(), program.parent().and_then(Path::parent)];
    let around = around.into_iter().flatten().map(|dir| dir.join("criu"));
    let trees: Vec<_> = [state.join("criu")].into_iter().chain(around).chain([PathBuf::from("/")]).collect();
    Criu::find(&trees).ok_or_else(|| {
        let places: Vec<_> = trees.iter().map(|tree| tree.display().to_string()).collect();
        format!("no usr/sbin/criu below {}; set node.criu", places.join(", "))
    })
}

impl Open {
    /// What makes machines.
    pub(crate) fn machines(&self) -> Arc<dyn Backend> {
        match self {
            Self::Namespaces { machines, .. } => Arc::clone(machines) as Arc<dyn Backend>,
            Self::Sim { machines, .. } => Arc::clone(machines) as Arc<dyn Backend>,
        }
    }

    /// The file system of sandboxes and template layers.
    pub(crate) fn bulk_dir(&self) -> &Path {
        match self {
            Self::Namespaces { storage, .. } => storage.root(),
            Self::Sim { bulk, .. } => bulk,
        }
    }

    /// How many sandboxes can stand side by side.
    pub(crate) fn slots(&self) -> u32 {
        match self {
            Self::Namespaces { network, .. } => network.capacity(),
            Self::Sim { .. } => u32::MAX,
        }
    }

    /// Whether no sandbox runs or sleeps here, where no node could be asked.
    pub(crate) fn records_nothing(&self) -> bool {
        let records = std::fs::read_dir(node::records_dir(self.bulk_dir()));
        records
            .map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |mut dir| dir.next().is_none())
    }

    /// Lets go of what no sandbox needs any more.
    pub(crate) async fn close(self, nothing_runs: bool) {
        let Self::Namespaces { machines, storage, network, .. } = self else { return };
        drop(machines);
        network.stop().await;
        if !nothing_runs {
            return;
        }
        if let Err(error) = network.close().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the sandboxes' network stays set up");
        }
        // Whoever still uses it keeps it; the next server takes it over as it stands.
        let Ok(storage) = Arc::try_unwrap(storage) else { return };
        if let Err(error) = storage.close() {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the state file system stays mounted");
        }
    }
}

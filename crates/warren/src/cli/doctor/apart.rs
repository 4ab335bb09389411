//! A trial of checkpoints apart from any server: in mount and network namespaces,
//! control groups and a state file system of the doctor's own.
//!
//! All of it lies in one directory beside or in the state directory, which is
//! locked while a doctor works there. One that was killed leaves that directory and
//! perhaps machines; the next doctor or server takes both away.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use model::{ByteSize, Slot};
use runtime::Backend as _;
use runtime::namespaces::{self, Criu, Launcher, Namespaces};
use runtime::network::{Network, NetworkConfig};
use runtime::storage::{Storage, StorageOptions};
use runtime::trial::{Failed, Passed};
use rustix::fs::{FlockOperation, flock};

use crate::config::Options;
use crate::guest_layer;
use crate::up::{state, trial};

/// Where it works, below the state directory or what will hold that.
const DIR: &str = ".warren-doctor";
/// A sparse image for two machines that write nothing.
const IMAGE: ByteSize = ByteSize::gib(1);

/// Why it cannot be said that pauses keep memory.
#[derive(Debug)]
pub(super) struct Unproved {
    pub(super) reason: String,
    pub(super) advice: &'static str,
}

impl From<anyhow::Error> for Unproved {
    fn from(error: anyhow::Error) -> Self {
        Self { reason: format!("it could not be tried: {error:#}"), advice: "mend that, and ask again" }
    }
}

/// Tries, and says what was seen. This process has a single thread, and nothing
/// else to do with the host's mounts and network: it leaves them.
pub(super) fn try_memory(options: &Options, tool: Criu) -> Result<String, Unproved> {
    let place = state::nearest(&options.state_dir);
    let place = fs::canonicalize(place).with_context(|| format!("resolve {}", place.display()))?;
    let dir = place.join(DIR);
    let lock = take(&dir)?;
    let tried = cgroups(&lock).map_err(Unproved::from);
    let tried = tried.and_then(|cgroups| carry_out(options, tool, &dir, cgroups));
    let removed = remove(&dir, &lock);
    let passed = tried?;
    removed?;
    Ok(said(passed))
}

fn said((passed, in_rounds): (Passed, bool)) -> String {
    let Passed { took, frozen, restored_in, memory } = passed;
    let large = if in_rounds {
        "a large memory is written while its sandbox goes on"
    } else {
        "a large memory stands still until it is written: this kernel does not tell which pages change"
    };
    format!(
        "tried in {took:.1?}: a machine with connections was written down ({} KiB), stood still for {frozen:.0?}, \
         and another one went on with it after {restored_in:.0?}; {large}",
        memory.as_u64() >> 10
    )
}

/// What a doctor left that was killed; nothing where one works.
pub(crate) fn sweep(state_dir: &Path) {
    let dir = state_dir.join(DIR);
    if !dir.exists() {
        return;
    }
    match take(&dir).and_then(|lock| remove(&dir, &lock)) {
        Ok(()) => tracing::info!("removed what a killed doctor had left"),
        Err(error) => tracing::info!(reason = &*error, "a doctor's directory is left alone"),
    }
}

/// Takes the directory for this process, empty.
fn take(dir: &Path) -> Result<File> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("create {}", dir.display()));
        }
        _ => {}
    }
    let lock = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another doctor works in {} at this moment", dir.display());
    }
    runtime::trial::end_machines(&cgroups(&lock)?).context("end what a doctor left")?;
    empty(dir)?;
    Ok(lock)
}

/// The name of its control groups: that of a server has at most seven letters, and
/// another doctor works in another directory.
fn cgroups(dir: &File) -> Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = dir.metadata().context("look at the doctor's directory")?;
    Ok(format!("warren-doctor-{:x}-{:x}", meta.dev(), meta.ino()))
}

fn empty(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry.context("list a directory")?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// The lock is held until the directory is gone.
fn remove(dir: &Path, _lock: &File) -> Result<()> {
    empty(dir)?;
    fs::remove_dir(dir).with_context(|| format!("remove {}", dir.display()))
}

fn carry_out(
    options: &Options,
    tool: Criu,
    dir: &Path,
    cgroup_name: String,
) -> Result<(Passed, bool), Unproved> {
    runtime::trial::part_from_host().context("leave the host's mounts and network")?;
    let guest = guest_layer::ensure(&dir.join("guest"))?;
    let launcher = Launcher::start().context("start the process that clones machines")?;
    let wanted = StorageOptions { image_size: Some(IMAGE), only: None };
    let storage = Arc::new(Storage::open(dir, &wanted).context("make a state file system")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let tried = runtime.block_on(async {
        let network = Network::start(NetworkConfig::default()).await.context("set up a network")?;
        let ground = Ground { storage: Arc::clone(&storage), network: Arc::new(network), launcher };
        ground.try_on(options, tool, &guest, cgroup_name).await
    });
    drop(runtime);
    let storage = Arc::try_unwrap(storage).ok().context("let go of the state file system")?;
    storage.close().context("unmount the state file system")?;
    tried
}

/// What machines stand on.
struct Ground {
    storage: Arc<Storage>,
    network: Arc<Network>,
    launcher: Launcher,
}

impl Ground {
    async fn try_on(
        self,
        options: &Options,
        tool: Criu,
        guest: &Path,
        cgroup_name: String,
    ) -> Result<(Passed, bool), Unproved> {
        let wanted = namespaces::Options {
            cgroup_name,
            first_user_id: options.node.first_uid,
            criu: Ok(tool),
            rounds: true,
        };
        let slots = slots(self.network.capacity(), options.node.first_uid);
        let Self { storage, network, launcher } = self;
        let root: PathBuf = storage.root().join("trial");
        let machines = Namespaces::open(wanted, launcher, storage, Arc::clone(&network));
        let machines = machines.context("open the namespaces backend")?;
        let verdict = if let Err(reason) = machines.memory_checkpoints() {
            Err(Unproved { reason, advice: "pauses keep files only; take CRIU 4.2.1 or newer" })
        } else {
            let tried = trial::of(root, guest, slots).run(&machines).await;
            let unproved = |failed: Failed| Unproved { reason: failed.to_string(), advice: failed.advice() };
            tried.map(|passed| (passed, machines.writes_in_rounds())).map_err(unproved)
        };
        drop(machines);
        network.stop().await;
        verdict
    }
}

/// The last two, which a server's sandboxes take last: user ids are the host's.
fn slots(capacity: u32, first_uid: u32) -> [Slot; 2] {
    let ids = (u32::MAX - first_uid) / 65_536;
    let end = capacity.min(ids).max(2);
    [Slot(end - 2), Slot(end - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_last_whose_ids_there_are() {
        assert_eq!(slots(64_000, 1_000_000), [Slot(64_000 - 2), Slot(64_000 - 1)]);
        let [_, last] = slots(64_000, 4_000_000_000);
        assert!(4_000_000_000_u32.checked_add((last.0 + 1) * 65_536).is_some());
    }

    #[test]
    fn what_a_killed_doctor_left_is_swept_and_a_working_one_is_not() {
        if !rustix::process::geteuid().is_root() {
            return testkit::skip("what a killed doctor left is swept by root");
        }
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join(DIR);
        fs::create_dir_all(dir.join("guest/layer")).unwrap();
        let working = File::open(&dir).unwrap();
        flock(&working, FlockOperation::NonBlockingLockExclusive).unwrap();
        sweep(state.path());
        assert!(dir.join("guest/layer").exists());
        drop(working);
        sweep(state.path());
        assert!(!dir.exists());
    }
}

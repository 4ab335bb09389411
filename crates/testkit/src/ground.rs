//! A host of machines of namespaces, made for one test: a network namespace, a
//! subtree of control groups, a range of user ids and a state directory of its
//! own, so that it neither meets nor disturbs a server that runs beside it.
//! The root of its machines is a static busybox.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use model::ByteSize;
use runtime::Backend;
use runtime::namespaces::{Criu, Launcher, Namespaces, Options};
use runtime::network::{Network, NetworkConfig};
use runtime::storage::{Storage, StorageKind, StorageOptions};
use rustix::mount::MountPropagationFlags;

/// Far from the ids of any server: slots of tests begin here.
const FIRST_USER_ID: u32 = 2_100_000_000;

/// What machines can run.
const APPLETS: [&str; 13] =
    ["sh", "nc", "cat", "dd", "sleep", "id", "chown", "touch", "mkdir", "ls", "stat", "seq", "kill"];

/// A host for one test. [`Ground::run`] closes it, and says what was left; after a
/// test that failed, dropping it removes what the test left.
#[derive(Debug)]
pub struct Ground {
    dir: tempfile::TempDir,
    storage: Option<Arc<Storage>>,
    network: Arc<Network>,
    cgroup_name: String,
    first_user_id: u32,
    /// Mounts that were there before the first machine.
    mounts: BTreeSet<String>,
}

impl Ground {
    /// Runs a test on a ground of its own, on a thread that becomes its host; or
    /// skips it and says `false`. Tests of one program have different `n`.
    pub fn run<F>(n: u32, test: impl FnOnce(Arc<Self>) -> F + Send + 'static) -> Result<bool>
    where
        F: Future<Output = ()>,
    {
        Self::run_on(n, ByteSize::gib(2), test)
    }

    /// As [`Self::run`], with a state file system of this size.
    pub fn run_on<F>(
        n: u32,
        disk: ByteSize,
        test: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<bool>
    where
        F: Future<Output = ()>,
    {
        if !rustix::process::geteuid().is_root() || busybox().is_none() {
            crate::skip("needs root and the package busybox-static");
            return Ok(false);
        }
        let run = move || -> Result<()> {
            sys::namespace::new_network_namespace().context("make a network namespace")?;
            // As every host has it; the checkpoint tool tries the kernel out on it.
            sys::netlink::set_link_up(1).context("bring loopback up")?;
            // Every thread of the runtime is a descendant of this one and stands in its namespace.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let ground = Arc::new(Self::new(n, disk).await?);
                test(Arc::clone(&ground)).await;
                Arc::into_inner(ground).context("the test keeps its ground")?.close().await
            })
        };
        // The name is the test's, for what is skipped on it.
        let host =
            std::thread::Builder::new().name(std::thread::current().name().unwrap_or("host").to_owned());
        let host = host.spawn(run).context("start the host's thread")?;
        host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(true)
    }

    async fn new(n: u32, disk: ByteSize) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("warren-ground").tempdir_in("/var/tmp")?;
        let options = StorageOptions { image_size: Some(disk), only: None };
        let storage = Arc::new(Storage::open(dir.path(), &options).context("open the storage")?);
        if storage.kind() == StorageKind::BtrfsImage {
            // As systemd has it; what a machine mounts must not come back to the host.
            rustix::mount::mount_change(storage.root(), MountPropagationFlags::SHARED)
                .context("share the mount of the storage")?;
        }
        busybox_root(&storage.root().join("layers/root"))?;
        let network = Network::start(NetworkConfig::default()).await.context("start the network")?;
        let cgroup_name = format!("warren-ground-{}-{n}", std::process::id());
        let first_user_id = FIRST_USER_ID + n * 10_000_000;
        forgotten(first_user_id).await?;
        let (storage, network) = (Some(storage), Arc::new(network));
        Ok(Self { dir, storage, network, cgroup_name, first_user_id, mounts: mounts()? })
    }

    /// Another backend on this host, as after a restart of the server.
    pub fn backend(&self) -> Result<Arc<dyn Backend>> {
        self.backend_with(true)
    }

    /// One that writes every memory at once, while its machine stands still.
    pub fn backend_without_rounds(&self) -> Result<Arc<dyn Backend>> {
        self.backend_with(false)
    }

    fn backend_with(&self, rounds: bool) -> Result<Arc<dyn Backend>> {
        // Forked from a program with threads; the copy only makes plain calls.
        let launcher = Launcher::start().context("start a launcher")?;
        let options = Options {
            cgroup_name: self.cgroup_name.clone(),
            first_user_id: self.first_user_id,
            criu: criu().ok_or_else(|| "not installed".to_owned()),
            rounds,
        };
        let storage = self.storage.clone().context("the ground is closed")?;
        Ok(Arc::new(Namespaces::open(options, launcher, storage, Arc::clone(&self.network))?))
    }

    /// A directory for what is no sandbox's.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The state file system: `sandboxes/` and, with the machines' root in
    /// `layers/root`, the layers.
    pub fn bulk_dir(&self) -> &Path {
        self.storage.as_ref().map_or(Path::new(""), |storage| storage.root())
    }

    /// Everything of machines that exists on the host now, by name.
    pub fn census(&self) -> Result<Vec<String>> {
        let now = mounts()?;
        // Other tests stand beside this one, each below a directory of its own.
        let own = self.dir.path().display().to_string();
        let new = now.difference(&self.mounts).filter(|line| line.contains(&own));
        let mounts = new.map(|line| format!("mount {line}"));
        let groups = cgroup_dirs(&self.cgroup_name)?.into_iter().flat_map(|dir| below(&dir));
        let disks = below(&self.bulk_dir().join("sandboxes"));
        // An empty directory is the node's, not the backend's.
        let disks = disks.into_iter().filter(|dir| fs::read_dir(dir).is_ok_and(|mut d| d.next().is_some()));
        let all = mounts.chain(interfaces()?).chain(processes(self.first_user_id)?);
        Ok(all.chain(groups.chain(disks).map(|dir| dir.display().to_string())).collect())
    }

    /// How many processes run in machines.
    pub fn processes(&self) -> Result<usize> {
        Ok(processes(self.first_user_id)?.len())
    }

    /// Takes everything down; whatever is still in use makes this fail.
    async fn close(mut self) -> Result<()> {
        ensure!(self.network.close().await?, "an interface is left");
        // The empty directories of sandboxes are the node's to remove; tests without one are it.
        for dir in below(&self.bulk_dir().join("sandboxes")) {
            fs::remove_dir(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        let storage = self.storage.take().context("it is closed once")?;
        let storage = Arc::try_unwrap(storage).ok().context("something uses the storage still")?;
        ensure!(storage.close()?, "something holds the state file system");
        let left = cgroup_dirs(&self.cgroup_name)?;
        ensure!(left.is_empty(), "control groups are left: {left:?}");
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.storage.is_none() {
            return;
        }
        // A test failed and tells why. What cannot be removed any more is not its news.
        for process in processes(self.first_user_id).unwrap_or_default() {
            let pid = process.rsplit('/').next().and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        for dir in cgroup_dirs(&self.cgroup_name).unwrap_or_default() {
            (0..100).find(|_| {
                remove_groups(&dir);
                std::thread::sleep(Duration::from_millis(10));
                !dir.exists()
            });
        }
        let bulk = self.bulk_dir().to_owned();
        let _ = rustix::mount::unmount(&bulk, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Removes a subtree of control groups as far as nobody is in it.
fn remove_groups(dir: &Path) {
    for below in below(dir) {
        remove_groups(&below);
    }
    let _ = fs::remove_dir(dir);
}

fn mounts() -> Result<BTreeSet<String>> {
    Ok(fs::read_to_string("/proc/self/mountinfo")?.lines().map(str::to_owned).collect())
}

/// Interfaces of this thread's network namespace, loopback apart.
fn interfaces() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    Ok(names.filter(|name| *name != "lo").map(|name| format!("interface {name}")).collect())
}

/// Processes whose ids are mapped into this test's range.
fn processes(first: u32) -> Result<Vec<String>> {
    let pids = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let ours = pids.filter(|path| {
        let map = fs::read_to_string(path.join("uid_map")).unwrap_or_default();
        let mut numbers = map.split_whitespace().filter_map(|n| n.parse::<u32>().ok());
        numbers.nth(1).is_some_and(|outside| (first..first + 10_000_000).contains(&outside))
    });
    Ok(ours.map(|path| path.display().to_string()).collect())
}

/// Waits until the processes of a run before this one are gone: they would be counted.
async fn forgotten(first: u32) -> Result<()> {
    for _ in 0..6000 {
        if processes(first)?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("processes of an earlier run are still there: {:?}", processes(first)?)
}

/// The subtree of this test in every hierarchy that is mounted.
fn cgroup_dirs(name: &str) -> Result<Vec<PathBuf>> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top)?.flatten().map(|entry| entry.path());
    let dirs = hierarchies.chain([top.to_owned()]).map(|dir| dir.join(name));
    Ok(dirs.filter(|dir| dir.is_dir()).collect())
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

/// A root with the applets that tests use, and a user.
fn busybox_root(root: &Path) -> Result<()> {
    for dir in ["bin", "proc", "sys", "dev", "run", "etc", "tmp", "root", "home/user", "usr/lib/warren"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy(busybox().context("busybox is not installed")?, root.join("bin/busybox"))?;
    for name in APPLETS {
        symlink("busybox", root.join("bin").join(name))?;
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
    fs::write(root.join("etc/passwd"), users)?;
    fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n")?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The checkpoint tool, as `cargo xtask` puts it here or in its emulated machine, or as
/// the system has it.
fn criu() -> Option<Criu> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/criu");
    Criu::find(&[fetched, PathBuf::from("/var/lib/criu"), PathBuf::from("/")])
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

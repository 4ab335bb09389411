//! A host of machines of namespaces, made for one test: a network namespace, a
//! subtree of control groups, a range of user ids and a state directory of its
//! own, so that it neither meets nor disturbs a server that runs beside it.
//! The root of its machines is a static busybox.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{ByteSize, SandboxId};
use warren_runtime::Backend;
use warren_runtime::namespaces::{Launcher, Namespaces, Options};
use warren_runtime::network::{Network, NetworkConfig};
use warren_runtime::storage::{Storage, StorageOptions};

use crate::{Host, limits, promises};

/// Far from the ids of any server: slots of tests begin here.
const FIRST_USER_ID: u32 = 700_000_000;

pub(crate) struct Ground {
    dir: tempfile::TempDir,
    storage: Option<Arc<Storage>>,
    network: Arc<Network>,
    cgroup_name: String,
    first_user_id: u32,
    /// Mounts that were there before the first machine.
    mounts: BTreeSet<String>,
}

impl Ground {
    async fn new(n: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("warren-contract").tempdir_in("/var/tmp").unwrap();
        busybox_root(&dir.path().join("root"));
        let options = StorageOptions { image_size: Some(ByteSize::gib(2)), only: None };
        let storage = Some(Arc::new(Storage::open(dir.path(), &options).unwrap()));
        let network = Arc::new(Network::start(NetworkConfig::default()).await.unwrap());
        let cgroup_name = format!("warren-contract-{}-{n}", std::process::id());
        let first_user_id = FIRST_USER_ID + n * 10_000_000;
        Self { dir, storage, network, cgroup_name, first_user_id, mounts: mounts() }
    }

    /// How many processes run in machines.
    pub(crate) fn processes(&self) -> usize {
        processes(self.first_user_id).len()
    }

    /// Takes everything down; whatever is still in use makes this fail.
    async fn close(mut self) {
        assert!(self.network.close().await.unwrap(), "no interface is left");
        // The empty directories of sandboxes are the node's to remove, which is us here.
        for dir in below(&self.storage.as_ref().unwrap().sandboxes_dir()) {
            fs::remove_dir(&dir).unwrap();
        }
        let storage = Arc::try_unwrap(self.storage.take().unwrap()).expect("nobody uses it any more");
        assert!(storage.close().unwrap(), "nothing holds the state file system");
        for dir in cgroup_dirs(&self.cgroup_name) {
            fs::remove_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        }
    }
}

impl Host for Ground {
    fn backend(&self) -> Arc<dyn Backend> {
        // Forked from a program with threads; the copy only makes plain calls.
        let launcher = Launcher::start().unwrap();
        let options = Options { cgroup_name: self.cgroup_name.clone(), first_user_id: self.first_user_id };
        let storage = self.storage.clone().unwrap();
        Arc::new(Namespaces::open(options, launcher, storage, Arc::clone(&self.network)).unwrap())
    }

    fn sandbox_dir(&self, id: &SandboxId) -> PathBuf {
        let dir = self.storage.as_ref().unwrap().sandboxes_dir().join(id.as_str());
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn layers(&self) -> Vec<PathBuf> {
        vec![self.dir.path().join("root")]
    }

    fn census(&self) -> Vec<String> {
        let mounts =
            mounts().difference(&self.mounts).map(|line| format!("mount {line}")).collect::<Vec<_>>();
        let groups = cgroup_dirs(&self.cgroup_name).into_iter().flat_map(|dir| below(&dir));
        let disks = below(&self.storage.as_ref().unwrap().sandboxes_dir());
        // An empty directory is the node's, not the backend's.
        let disks = disks.into_iter().filter(|dir| fs::read_dir(dir).is_ok_and(|mut d| d.next().is_some()));
        let all = mounts.into_iter().chain(interfaces()).chain(processes(self.first_user_id));
        all.chain(groups.chain(disks).map(|dir| dir.display().to_string())).collect()
    }
}

fn mounts() -> BTreeSet<String> {
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(str::to_owned).collect()
}

/// Interfaces of this thread's network namespace, loopback apart.
fn interfaces() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    names.filter(|name| *name != "lo").map(|name| format!("interface {name}")).collect()
}

/// Processes whose ids are mapped into this test's range.
fn processes(first: u32) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = pids.filter(|path| {
        let map = fs::read_to_string(path.join("uid_map")).unwrap_or_default();
        let mut numbers = map.split_whitespace().filter_map(|n| n.parse::<u32>().ok());
        numbers.nth(1).is_some_and(|outside| (first..first + 10_000_000).contains(&outside))
    });
    ours.map(|path| path.display().to_string()).collect()
}

/// The subtree of this test in every hierarchy that is mounted.
fn cgroup_dirs(name: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).unwrap().flatten().map(|entry| entry.path());
    let dirs = hierarchies.chain([top.to_owned()]).map(|dir| dir.join(name));
    dirs.filter(|dir| dir.is_dir()).collect()
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

fn busybox_root(root: &Path) {
    for dir in ["bin", "proc", "sys", "dev", "run", "etc", "tmp"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy(busybox().unwrap(), root.join("bin/busybox")).unwrap();
    for name in
        ["sh", "nc", "cat", "dd", "sleep", "id", "chown", "touch", "mkdir", "ls", "stat", "seq", "kill"]
    {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

#[expect(clippy::print_stdout, reason = "what does not run is announced")]
fn skip() {
    println!("skipped: needs root and the package busybox-static");
}

/// Runs a test on a ground of its own, on a thread that becomes its host; or says
/// why not.
fn on_ground<F>(n: u32, test: impl FnOnce(Arc<Ground>) -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    if !rustix::process::geteuid().is_root() || busybox().is_none() {
        return skip();
    }
    let run = move || {
        sys::namespace::new_network_namespace().unwrap();
        // Every thread of the runtime is a descendant of this one and stands in its namespace.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ground = Arc::new(Ground::new(n).await);
            test(Arc::clone(&ground)).await;
            Arc::into_inner(ground).expect("the test gives it back").close().await;
        });
    };
    std::thread::spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn namespaces_keep_the_promises() {
    on_ground(0, |ground| async move { promises::hold(&*ground).await });
}

#[test]
fn limits_of_namespaces_hold() {
    on_ground(1, |ground| async move { limits::hold(&ground).await });
}

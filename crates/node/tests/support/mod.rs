//! A node on the simulated backend, with one template, in a directory of its own.

#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part; what cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::admission::{Capacity, Overcommit, Promised};
use model::{BuildId, ByteSize, Resources, SandboxId};
use runtime::sim::{Inventory, Sim, World};
use testkit::Script;
use tokio::task::JoinHandle;
use warren_node::{
    Approver, CreateSandbox, Error, Faults, Handle, Limits, NodeOptions, Observation, Phase, Refused,
};

pub(crate) const BUILD: BuildId = BuildId::from_u128(0x1111_2222_3333_4444_8555_6666_7777_8888);

/// The world, the disk and what is to go wrong: everything that outlives a server.
pub(crate) struct Host {
    pub(crate) world: Arc<World>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) script: Arc<Script>,
}

/// What exists on a host, records of ends apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    inventory: Inventory,
    dirs: BTreeSet<PathBuf>,
    promised: Promised,
}

impl Host {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("layers/root")).unwrap();
        std::fs::create_dir_all(dir.path().join("templates")).unwrap();
        let template = serde_json::json!({
            "format": 1, "build_id": BUILD.to_string(), "template_id": "basebasebase", "aliases": ["base"],
            "cpu_count": 1, "memory_bytes": 512u64 << 20, "disk_bytes": 1u64 << 30, "envd_version": "0.6.4",
            "layers": ["root"], "interpreter": true, "env": {"FROM": "template"},
            "default_user": "user", "default_workdir": "/home/user", "created_at": 1,
        });
        std::fs::write(dir.path().join(format!("templates/{BUILD}.json")), template.to_string()).unwrap();
        Self { world: World::new(), dir, script: Arc::default() }
    }

    pub(crate) fn options(&self) -> NodeOptions {
        let backend = Arc::new(Sim::new(Arc::clone(&self.world)));
        let capacity = Capacity { memory: ByteSize::gib(2), disk: ByteSize::gib(64), slots: 16 };
        let mut options = NodeOptions::new(self.path(), Path::new("/guest"), backend, capacity);
        options.overcommit = Overcommit::NONE;
        options.faults = Arc::clone(&self.script) as Arc<dyn Faults>;
        options.limits = Limits {
            undo_step: Duration::from_secs(2),
            undo_retries: [Duration::from_millis(1), Duration::from_millis(2), Duration::from_millis(5)],
            undo_again: Duration::from_millis(20),
            guest_answer: Duration::from_secs(2),
            ..Limits::default()
        };
        options
    }

    pub(crate) async fn open(&self) -> Handle {
        let (handle, refused) = self.open_with(self.options()).await;
        assert!(refused.is_empty(), "{refused:?}");
        handle
    }

    pub(crate) async fn open_with(&self, options: NodeOptions) -> (Handle, Vec<Refused>) {
        Handle::open(options).await.unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn sandbox_dir(&self, id: &SandboxId) -> PathBuf {
        self.path().join("sandboxes").join(id.as_str())
    }

    pub(crate) fn footprint(&self, handle: &Handle) -> Footprint {
        let entries = std::fs::read_dir(self.path().join("sandboxes")).unwrap();
        Footprint {
            inventory: self.world.inventory(),
            dirs: entries.map(|entry| entry.unwrap().path()).collect(),
            promised: handle.promised(),
        }
    }
}

pub(crate) fn sandbox_id(n: u32) -> SandboxId {
    format!("i{n}").parse().unwrap()
}

pub(crate) fn request(n: u32) -> CreateSandbox {
    CreateSandbox {
        sandbox_id: sandbox_id(n),
        template_id: "basebasebase".parse().unwrap(),
        build_id: BUILD,
        resources: Resources { cpu_count: 1, memory: ByteSize::mib(512), disk: ByteSize::gib(1) },
        env_vars: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
        access_token: Some("secret".to_owned()),
        timeout: Duration::from_mins(5),
        wait_for_interpreter: true,
        policy: model::Policy::default(),
        from: None,
    }
}

/// Waits, boundedly, until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A create that waits for a word; the sender of which comes with it.
pub(crate) fn unapproved(handle: &Handle, n: u32) -> (Approver, JoinHandle<Result<Observation, Error>>) {
    let (approver, approval) = Approver::new();
    let handle = handle.clone();
    let making = tokio::spawn(async move { handle.create_approved(request(n), approval).await });
    (approver, making)
}

/// Waits until a sandbox has its record.
pub(crate) async fn until_recorded(host: &Host, n: u32) {
    let record = host.sandbox_dir(&sandbox_id(n)).join("sandbox.json");
    until("its record is written", || record.exists()).await;
}

/// Where the files of a sandbox are that it wrote.
pub(crate) fn upper(host: &Host, n: u32) -> PathBuf {
    host.sandbox_dir(&sandbox_id(n)).join("machine")
}

/// Writes a file as the sandbox would.
pub(crate) fn write(host: &Host, n: u32, name: &str, text: &str) {
    std::fs::write(upper(host, n).join(name), text).unwrap();
}

/// What it wrote, by name.
pub(crate) fn files(host: &Host, n: u32) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(upper(host, n)).unwrap().map(Result::unwrap);
    let text = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), text(entry.path()))).collect()
}

/// What it is at; `None` when it is gone.
pub(crate) fn phase(handle: &Handle, n: u32) -> Option<Phase> {
    handle.get(&sandbox_id(n)).map(|seen| seen.phase)
}

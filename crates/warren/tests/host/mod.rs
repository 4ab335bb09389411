//! A node on real machines of namespaces, with the real daemon, on a ground of its own.

#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part; what cannot go on fails")]

pub(crate) mod memory;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::admission::Capacity;
use model::{BuildId, ByteSize, Resources, SandboxId};
use node::{CreateSandbox, Faults, Handle, NodeOptions};
use testkit::{Ground, Script};

pub(crate) const BUILD: BuildId = BuildId::from_u128(0x1111_2222_3333_4444_8555_6666_7777_8888);

/// A host with one template, and what is to go wrong there.
pub(crate) struct Host {
    pub(crate) ground: Arc<Ground>,
    pub(crate) script: Arc<Script>,
}

impl Host {
    pub(crate) fn new(ground: Arc<Ground>) -> Self {
        Self::with_start(ground, &serde_json::json!({ "command": null, "ready": null }))
    }

    /// One whose sandboxes run a command from their start on, as root.
    pub(crate) fn with_start(ground: Arc<Ground>, start: &serde_json::Value) -> Self {
        let templates = ground.dir().join("templates");
        fs::create_dir_all(&templates).unwrap();
        // Commands are run by it.
        let bash = ground.bulk_dir().join("layers/root/bin/bash");
        fs::write(&bash, "#!/bin/sh\nexec /bin/sh \"$@\"\n").unwrap();
        fs::set_permissions(&bash, fs::Permissions::from_mode(0o755)).unwrap();
        let template = serde_json::json!({
            "format": 1, "build_id": BUILD.to_string(), "template_id": "basebasebase", "aliases": ["base"],
            "cpu_count": 1, "memory_bytes": 256u64 << 20, "disk_bytes": 64u64 << 20, "envd_version": "0.6.4",
            "layers": ["root"], "interpreter": false, "env": {}, "default_user": "root",
            "default_workdir": "/home/user", "created_at": 1, "start": start,
        });
        fs::write(templates.join(format!("{BUILD}.json")), template.to_string()).unwrap();
        Self { ground, script: Arc::default() }
    }

    pub(crate) async fn open(&self) -> Handle {
        let capacity = Capacity { memory: ByteSize::gib(4), disk: ByteSize::gib(4), slots: 16 };
        let backend = self.ground.backend().unwrap();
        let guest = guest_layer(self.ground.dir());
        let mut options = NodeOptions::new(self.ground.dir(), &guest, backend, capacity);
        options.bulk_dir = self.ground.bulk_dir().to_owned();
        options.faults = Arc::clone(&self.script) as Arc<dyn Faults>;
        let (handle, refused) = Handle::open(options).await.unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        handle
    }

    /// What exists of machines and of their records.
    pub(crate) fn footprint(&self) -> Vec<String> {
        let mut all = self.ground.census().unwrap();
        let records = fs::read_dir(self.ground.bulk_dir().join("sandboxes")).unwrap();
        all.extend(records.map(|entry| entry.unwrap().path().display().to_string()));
        all.sort();
        all
    }

    /// Waits until the host is as it was; namespaces die a little after their processes.
    pub(crate) async fn settled(&self, before: &[String], when: &str) {
        for _ in 0..3000 {
            if self.footprint() == before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.footprint(), before, "the host is as before {when}");
    }
}

/// The real daemon as a layer, as the server lays it out.
pub(crate) fn guest_layer(dir: &Path) -> PathBuf {
    let layer = dir.join("guest");
    let program = layer.join(wire::control::GUEST_PATH.trim_start_matches('/'));
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    if !program.exists() {
        fs::copy(concat!(env!("OUT_DIR"), "/guest"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    layer
}

pub(crate) fn sandbox_id(n: u32) -> SandboxId {
    format!("isteps{n}").parse().unwrap()
}

pub(crate) fn request(n: u32) -> CreateSandbox {
    CreateSandbox {
        sandbox_id: sandbox_id(n),
        template_id: "basebasebase".parse().unwrap(),
        build_id: BUILD,
        resources: Resources { cpu_count: 1, memory: ByteSize::mib(256), disk: ByteSize::mib(64) },
        env_vars: BTreeMap::new(),
        access_token: None,
        timeout: Duration::from_mins(5),
        wait_for_interpreter: false,
        policy: model::Policy::default(),
        from: None,
    }
}

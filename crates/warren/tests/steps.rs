//! A start that fails, is killed or loses its server at any step, and an end
//! that fails at any: on real machines of namespaces with the real daemon.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::admission::Capacity;
use model::{BuildId, ByteSize, EndCause, KilledBy, Resources, SandboxId};
use node::{CreateSandbox, Error, Faults, Handle, InjectedFault, NodeOptions, Phase, Point, Sandboxes};
use runtime::BoxFuture;
use testkit::Ground;

const BUILD: BuildId = BuildId::from_u128(0x1111_2222_3333_4444_8555_6666_7777_8888);

/// Fails or stops dead at one point.
#[derive(Debug, Default)]
struct Script {
    fail: Mutex<Option<Point>>,
    stop: Mutex<Option<Point>>,
    stopped: tokio::sync::Notify,
}

impl Script {
    fn fail_at(&self, point: Option<Point>) {
        *self.fail.lock().unwrap() = point;
    }

    fn stop_at(&self, point: Option<Point>) {
        *self.stop.lock().unwrap() = point;
    }
}

impl Faults for Script {
    fn at(&self, point: Point) -> BoxFuture<'_, Result<(), InjectedFault>> {
        Box::pin(async move {
            if *self.stop.lock().unwrap() == Some(point) {
                self.stopped.notify_one();
                std::future::pending::<()>().await;
            }
            // Once: an end is tried again until it succeeds.
            match self.fail.lock().unwrap().take_if(|wanted| *wanted == point) {
                Some(point) => Err(InjectedFault(point)),
                None => Ok(()),
            }
        })
    }
}

/// A host with one template, and what is to go wrong there.
struct Host {
    ground: Arc<Ground>,
    script: Arc<Script>,
}

impl Host {
    fn new(ground: Arc<Ground>) -> Self {
        let templates = ground.dir().join("templates");
        fs::create_dir_all(&templates).unwrap();
        let template = serde_json::json!({
            "format": 1, "build_id": BUILD.to_string(), "template_id": "basebasebase", "aliases": ["base"],
            "cpu_count": 1, "memory_bytes": 256u64 << 20, "disk_bytes": 64u64 << 20, "envd_version": "0.6.4",
            "layers": ["root"], "interpreter": false, "env": {}, "default_user": "user",
            "default_workdir": "/home/user", "created_at": 1,
        });
        fs::write(templates.join(format!("{BUILD}.json")), template.to_string()).unwrap();
        Self { ground, script: Arc::default() }
    }

    async fn open(&self) -> Handle {
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
    fn footprint(&self) -> Vec<String> {
        let mut all = self.ground.census().unwrap();
        let records = fs::read_dir(self.ground.bulk_dir().join("sandboxes")).unwrap();
        all.extend(records.map(|entry| entry.unwrap().path().display().to_string()));
        all.sort();
        all
    }

    /// Waits until the host is as it was; namespaces die a little after their processes.
    async fn settled(&self, before: &[String], when: &str) {
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
fn guest_layer(dir: &Path) -> PathBuf {
    let layer = dir.join("guest");
    let program = layer.join(wire::control::GUEST_PATH.trim_start_matches('/'));
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    if !program.exists() {
        fs::copy(concat!(env!("OUT_DIR"), "/guest"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    layer
}

fn sandbox_id(n: u32) -> SandboxId {
    format!("isteps{n}").parse().unwrap()
}

fn request(n: u32) -> CreateSandbox {
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

/// Starts one that stops dead at the point; the caller ends the wait.
async fn stuck(host: &Host, node: &Handle, point: Point) -> tokio::task::JoinHandle<()> {
    host.script.stop_at(Some(point));
    let node = node.clone();
    let mut creating = tokio::spawn(async move {
        // The one before is forgotten a moment after its last trace is gone. How this
        // one ends, killed or without its server, each test sees for itself.
        while let Err(Error::Exists(_)) = node.create(request(2)).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    tokio::select! {
        () = host.script.stopped.notified() => {}
        ended = &mut creating => panic!("a start ended before {point:?}: {ended:?}"),
    }
    host.script.stop_at(None);
    creating
}

async fn failing(host: &Host) {
    let node = host.open().await;
    node.create(request(1)).await.unwrap();
    let before = host.footprint();
    for point in Point::START {
        for round in 0..2 {
            host.script.fail_at(Some(point));
            let failed = node.create(request(2)).await.unwrap_err();
            assert!(matches!(failed, Error::Start { .. }), "{point:?} {failed:?}");
            host.settled(&before, &format!("{point:?} failed, round {round}")).await;
            assert_eq!(node.ended(&sandbox_id(2)).unwrap().cause, EndCause::StartFailed);
        }
    }
    for point in Point::END {
        node.create(request(2)).await.unwrap();
        host.script.fail_at(Some(point));
        node.kill(&sandbox_id(2), KilledBy::Client).await.unwrap();
        host.settled(&before, &format!("{point:?} failed")).await;
    }
    node.create(request(2)).await.unwrap();
    node.shutdown(Sandboxes::Kill).await;
}

async fn killed(host: &Host) {
    let node = host.open().await;
    node.create(request(1)).await.unwrap();
    let before = host.footprint();
    for point in Point::START {
        let creating = stuck(host, &node, point).await;
        let ended = node.kill(&sandbox_id(2), KilledBy::Client).await.unwrap();
        assert_eq!(ended.cause, EndCause::Killed(KilledBy::Client), "{point:?}");
        creating.await.unwrap();
        host.settled(&before, &format!("{point:?} was killed")).await;
    }
    node.shutdown(Sandboxes::Kill).await;
}

async fn crashed(host: &Host) {
    let mut node = host.open().await;
    node.create(request(1)).await.unwrap();
    let before = host.footprint();
    for point in Point::START {
        let creating = stuck(host, &node, point).await;
        node.abandon().await;
        creating.abort();
        node = host.open().await;
        assert_eq!(node.get(&sandbox_id(1)).unwrap().phase, Phase::Running, "{point:?}");
        if point == Point::BeforeReply {
            // Usable and recorded: it lives on.
            assert_eq!(node.get(&sandbox_id(2)).unwrap().phase, Phase::Running);
            node.kill(&sandbox_id(2), KilledBy::Client).await.unwrap();
        }
        host.settled(&before, &format!("the server died at {point:?}")).await;
    }
    node.shutdown(Sandboxes::Kill).await;
}

#[test]
fn a_failure_at_any_step_leaves_the_host_as_before() {
    Ground::run(10, |ground| async move { failing(&Host::new(ground)).await }).unwrap();
}

#[test]
fn a_kill_at_any_step_of_a_start_leaves_the_host_as_before() {
    Ground::run(11, |ground| async move { killed(&Host::new(ground)).await }).unwrap();
}

#[test]
fn a_lost_server_at_any_step_of_a_start_leaves_the_host_as_before() {
    Ground::run(12, |ground| async move { crashed(&Host::new(ground)).await }).unwrap();
}

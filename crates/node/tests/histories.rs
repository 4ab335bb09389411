//! Random histories of several sandboxes that are written to, put to sleep in both
//! ways, copied, taken back, killed, and whose server fails and dies in between,
//! against a model of their files and variables: nothing is lost, and nothing is
//! shared that should not be.

#![expect(clippy::unwrap_used, reason = "the lint does not see that helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{BuildId, KilledBy, TemplateId};
use proptest::prelude::*;
use support::{Host, files, phase, request, sandbox_id, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use warren_node::{CreateSandbox, Error, Handle, Keep, Phase, Point, Sandboxes, Waking};

const LIFE: Duration = Duration::from_mins(5);
/// Sandboxes, by number.
const MOST: u32 = 4;
/// Snapshots, by number.
const KEPT: u8 = 3;
/// Files and variables, by number.
const NAMES: u8 = 3;

type Texts = BTreeMap<String, String>;

/// What a sandbox should be.
#[derive(Debug, Clone, Default)]
struct Wanted {
    files: Texts,
    variables: Texts,
    /// What it sleeps with.
    asleep: Option<Keep>,
}

/// What a snapshot should be.
#[derive(Debug, Clone)]
struct Kept {
    source: u32,
    keep: Keep,
    files: Texts,
    variables: Texts,
}

#[derive(Debug, Default)]
struct Model {
    sandboxes: BTreeMap<u32, Wanted>,
    snapshots: BTreeMap<u8, Kept>,
}

impl Model {
    fn awake(&mut self, n: u32) -> Option<&mut Wanted> {
        self.sandboxes.get_mut(&n).filter(|wanted| wanted.asleep.is_none())
    }
}

/// What happens in a history.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Create(u32),
    Write(u32, u8, u8),
    Delete(u32, u8),
    Rename(u32, u8, u8),
    /// A process keeps a variable.
    Let(u32, u8, u8),
    Pause(u32, Keep),
    FailPause(u32, usize),
    /// The server is killed in the middle of a pause with memory.
    DiePausing(u32, usize),
    Resume(u32, Waking),
    FailResume(u32, usize),
    DieResuming(u32, usize),
    Fork(u32, u32),
    Snapshot(u32, u8, Keep),
    FailSnapshot(u32, usize),
    DieSnapshotting(u32, usize),
    Forget(u8),
    Start(u8, u32),
    Rollback(u32, u8),
    Kill(u32),
    KillServer,
}

fn deeds() -> impl Strategy<Value = Deed> {
    let (n, name, kept) = (1..=MOST, 0..NAMES, 0..KEPT);
    let keep = prop_oneof![Just(Keep::Files), Just(Keep::Memory)];
    let waking = prop_oneof![3 => Just(Waking::Kept), 1 => Just(Waking::Reboot)];
    let (step, wake) = (0..Point::CHECKPOINT.len(), 0..WAKING.len());
    let changes = prop_oneof![
        4 => n.clone().prop_map(Deed::Create),
        6 => (n.clone(), name.clone(), any::<u8>()).prop_map(|(n, name, text)| Deed::Write(n, name, text)),
        2 => (n.clone(), name.clone()).prop_map(|(n, name)| Deed::Delete(n, name)),
        2 => (n.clone(), name.clone(), name.clone()).prop_map(|(n, from, to)| Deed::Rename(n, from, to)),
        5 => (n.clone(), name, any::<u8>()).prop_map(|(n, name, text)| Deed::Let(n, name, text)),
        1 => n.clone().prop_map(Deed::Kill),
        1 => Just(Deed::KillServer),
    ];
    let moves = prop_oneof![
        4 => (n.clone(), keep.clone()).prop_map(|(n, keep)| Deed::Pause(n, keep)),
        1 => (n.clone(), step.clone()).prop_map(|(n, at)| Deed::FailPause(n, at)),
        1 => (n.clone(), step.clone()).prop_map(|(n, at)| Deed::DiePausing(n, at)),
        5 => (n.clone(), waking).prop_map(|(n, waking)| Deed::Resume(n, waking)),
        1 => (n.clone(), wake.clone()).prop_map(|(n, at)| Deed::FailResume(n, at)),
        1 => (n.clone(), wake).prop_map(|(n, at)| Deed::DieResuming(n, at)),
        3 => (n.clone(), n.clone()).prop_map(|(n, to)| Deed::Fork(n, to)),
        3 => (n.clone(), kept.clone(), keep).prop_map(|(n, kept, keep)| Deed::Snapshot(n, kept, keep)),
        1 => (n.clone(), step.clone()).prop_map(|(n, at)| Deed::FailSnapshot(n, at)),
        1 => (n.clone(), step).prop_map(|(n, at)| Deed::DieSnapshotting(n, at)),
        1 => kept.clone().prop_map(Deed::Forget),
        2 => (kept.clone(), n.clone()).prop_map(|(kept, n)| Deed::Start(kept, n)),
        3 => (n, kept).prop_map(|(n, kept)| Deed::Rollback(n, kept)),
    ];
    prop_oneof![changes, moves]
}

/// Steps of a resume that are passed whatever it resumes from.
const WAKING: [Point; 3] = [Point::BeforeBoot, Point::BeforeInit, Point::BeforeAwake];

fn build(kept: u8) -> BuildId {
    BuildId::from_u128(0x5a00 + u128::from(kept))
}

fn template() -> TemplateId {
    "snapshotsnapshotsnap".parse().unwrap()
}

/// Runs a script of the simulation inside; what it prints if it ends well.
async fn run(handle: &Handle, n: u32, script: &str) -> Option<String> {
    let message = serde_json::json!({ "process": { "cmd": "sh", "args": [script] } }).to_string();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message.as_bytes());
    let head = format!(
        "POST /process.Process/Start HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = handle.dialer(&sandbox_id(n)).unwrap().dial.dial(49983).await.unwrap();
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let printed = answer.split_once("\"stdout\":\"").unwrap().1.split('"').next().unwrap();
    let printed = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, printed).unwrap();
    let printed = String::from_utf8(printed).unwrap().trim_end().to_owned();
    answer.contains("\"exitCode\":0").then_some(printed)
}

async fn variables(handle: &Handle, n: u32) -> Texts {
    let mut found = Texts::new();
    for name in 0..NAMES {
        if let Some(value) = run(handle, n, &format!("show {name}")).await {
            found.insert(name.to_string(), value);
        }
    }
    found
}

async fn live_through(history: &[Deed]) {
    let host = Host::new();
    let mut handle = host.open().await;
    let mut model = Model::default();
    for (at, deed) in history.iter().enumerate() {
        handle = enact(&host, handle, &mut model, *deed).await;
        check(&host, &handle, &model, &format!("deed {at}, {deed:?}")).await;
    }
    handle.abandon().await;
    let handle = host.open().await;
    check(&host, &handle, &model, "a last restart").await;
    for n in model.sandboxes.keys() {
        handle.kill(&sandbox_id(*n), KilledBy::Client).await.unwrap();
    }
    for kept in model.snapshots.keys() {
        handle.forget_build(build(*kept)).await.unwrap();
    }
    until("no state is left", || states(&host) == 0).await;
    assert_eq!(host.world.inventory(), runtime::sim::Inventory::default());
    handle.shutdown(Sandboxes::Kill).await;
}

fn states(host: &Host) -> usize {
    std::fs::read_dir(host.path().join("generations")).unwrap().count()
}

/// All is as it should be; of a sleeper, too, which a copy of its record would show.
async fn check(host: &Host, handle: &Handle, model: &Model, after: &str) {
    for n in 1..=MOST {
        let wanted = model.sandboxes.get(&n);
        let expected = wanted.map(|one| one.asleep.map_or(Phase::Running, |_| Phase::Paused));
        assert_eq!(phase(handle, n), expected, "{n} after {after}");
        let Some(wanted) = wanted else { continue };
        if let Some(keep) = wanted.asleep {
            assert_eq!(handle.get(&sandbox_id(n)).unwrap().keeps_memory, keep == Keep::Memory, "{after}");
            continue;
        }
        assert_eq!(files(host, n), wanted.files, "files of {n} after {after}");
        assert_eq!(variables(handle, n).await, wanted.variables, "variables of {n} after {after}");
    }
    let awake = model.sandboxes.values().filter(|wanted| wanted.asleep.is_none()).count();
    let now = host.world.inventory();
    assert_eq!((now.running.len(), now.reserved.len()), (awake, awake), "{after}");
}

async fn enact(host: &Host, handle: Handle, model: &mut Model, deed: Deed) -> Handle {
    match deed {
        Deed::Create(_) | Deed::Fork(..) | Deed::Start(..) => begin(&handle, model, deed).await,
        Deed::Write(..) | Deed::Delete(..) | Deed::Rename(..) | Deed::Let(..) => {
            change(host, &handle, model, deed).await;
        }
        Deed::Snapshot(..) | Deed::FailSnapshot(..) | Deed::Forget(_) | Deed::Rollback(..) => {
            keep(host, &handle, model, deed).await;
        }
        Deed::Pause(..) | Deed::FailPause(..) | Deed::Resume(..) | Deed::FailResume(..) => {
            go(host, &handle, model, deed).await;
        }
        Deed::Kill(n) => {
            let killed = handle.kill(&sandbox_id(n), KilledBy::Client).await;
            assert_eq!(killed.is_ok(), model.sandboxes.remove(&n).is_some());
        }
        Deed::KillServer => {
            handle.abandon().await;
            return host.open().await;
        }
        Deed::DiePausing(..) | Deed::DieResuming(..) | Deed::DieSnapshotting(..) => {
            return die(host, handle, model, deed).await;
        }
    }
    handle
}

/// Sandboxes that begin: anew, as a fork, from a snapshot.
async fn begin(handle: &Handle, model: &mut Model, deed: Deed) {
    let (n, order, wanted) = match deed {
        Deed::Fork(from, to) => {
            let state = handle.checkpoint(&sandbox_id(from), Keep::Memory).await;
            let Some(source) = model.awake(from) else {
                return assert!(matches!(state, Err(Error::Paused(_) | Error::NotFound(_))), "{state:?}");
            };
            let (wanted, state) = (source.clone(), state.unwrap());
            let order = CreateSandbox { from: Some(state.generation), ..request(to) };
            let made = handle.create(order).await;
            assert_eq!(made.is_ok(), !model.sandboxes.contains_key(&to), "{made:?}");
            model.sandboxes.entry(to).or_insert(wanted);
            return;
        }
        Deed::Start(kept, n) => {
            let order = CreateSandbox { build_id: build(kept), ..request(n) };
            let wanted = model.snapshots.get(&kept).map(|kept| Wanted {
                files: kept.files.clone(),
                variables: kept.variables.clone(),
                asleep: None,
            });
            (n, order, wanted)
        }
        Deed::Create(n) => (n, request(n), Some(Wanted::default())),
        _ => return,
    };
    let made = handle.create(order).await;
    let can = wanted.is_some() && !model.sandboxes.contains_key(&n);
    assert_eq!(made.is_ok(), can, "{made:?}");
    if let Some(wanted) = wanted {
        model.sandboxes.entry(n).or_insert(wanted);
    }
}

/// What a sandbox does with its files and variables.
async fn change(host: &Host, handle: &Handle, model: &mut Model, deed: Deed) {
    let (Deed::Write(n, ..) | Deed::Delete(n, _) | Deed::Rename(n, ..) | Deed::Let(n, ..)) = deed else {
        return;
    };
    let Some(wanted) = model.awake(n) else { return };
    match deed {
        Deed::Write(_, name, text) => {
            support::write(host, n, &name.to_string(), &text.to_string());
            wanted.files.insert(name.to_string(), text.to_string());
        }
        Deed::Delete(_, name) => {
            let removed = run(handle, n, &format!("rm {name}")).await;
            assert_eq!(removed.is_some(), wanted.files.remove(&name.to_string()).is_some());
        }
        Deed::Rename(_, from, to) => {
            let moved = run(handle, n, &format!("mv {from} {to}")).await;
            let text = wanted.files.remove(&from.to_string());
            assert_eq!(moved.is_some(), text.is_some());
            text.map(|text| wanted.files.insert(to.to_string(), text));
        }
        Deed::Let(_, name, value) => {
            run(handle, n, &format!("let {name} {value}")).await.unwrap();
            wanted.variables.insert(name.to_string(), value.to_string());
        }
        _ => {}
    }
}

/// Sleep and waking.
async fn go(host: &Host, handle: &Handle, model: &mut Model, deed: Deed) {
    match deed {
        Deed::Pause(n, keep) => {
            let paused = handle.pause(&sandbox_id(n), keep, true).await;
            let awake = model.awake(n);
            assert_eq!(paused.is_ok(), awake.is_some(), "{paused:?}");
            if let Some(wanted) = awake {
                fall_asleep(wanted, keep);
            }
        }
        Deed::FailPause(n, at) => {
            let Some(wanted) = model.awake(n) else { return };
            host.script.fail(Point::CHECKPOINT[at], 1);
            let paused = handle.pause(&sandbox_id(n), Keep::Memory, true).await;
            assert_eq!(paused.is_ok(), is_named(Point::CHECKPOINT[at]), "{paused:?}");
            if paused.is_ok() {
                fall_asleep(wanted, Keep::Memory);
            }
        }
        Deed::Resume(n, waking) => {
            let resumed = handle.resume(&sandbox_id(n), LIFE, waking).await;
            let wanted = model.sandboxes.get_mut(&n);
            assert_eq!(resumed.is_ok(), wanted.is_some(), "{resumed:?}");
            if let Some(wanted) = wanted.filter(|wanted| wanted.asleep.is_some()) {
                wake_up(wanted, waking);
            }
        }
        Deed::FailResume(n, at) if model.sandboxes.get(&n).is_some_and(|wanted| wanted.asleep.is_some()) => {
            host.script.fail(WAKING[at], 1);
            handle.resume(&sandbox_id(n), LIFE, Waking::Kept).await.unwrap_err();
        }
        _ => {}
    }
}

/// Whether a state has its name at this point: what sleeps is never without its memory.
fn is_named(point: Point) -> bool {
    point == Point::AfterPublish
}

fn fall_asleep(wanted: &mut Wanted, keep: Keep) {
    wanted.asleep = Some(keep);
    if keep == Keep::Files {
        wanted.variables.clear();
    }
}

fn wake_up(wanted: &mut Wanted, waking: Waking) {
    wanted.asleep = None;
    if waking == Waking::Reboot {
        wanted.variables.clear();
    }
}

/// Snapshots, and the way back to one.
async fn keep(host: &Host, handle: &Handle, model: &mut Model, deed: Deed) {
    match deed {
        Deed::Snapshot(n, kept, keep) => {
            let state = handle.checkpoint(&sandbox_id(n), keep).await;
            let wanted = model.awake(n).cloned();
            assert_eq!(state.is_ok(), wanted.is_some(), "{state:?}");
            let (Some(Wanted { files, mut variables, .. }), Ok(state)) = (wanted, state) else { return };
            handle.keep_checkpoint(&state, &template(), build(kept)).await.unwrap();
            if keep == Keep::Files {
                variables.clear();
            }
            model.snapshots.insert(kept, Kept { source: n, keep, files, variables });
        }
        Deed::FailSnapshot(n, at) if model.awake(n).is_some() => {
            host.script.fail(Point::CHECKPOINT[at], 1);
            handle.checkpoint(&sandbox_id(n), Keep::Memory).await.unwrap_err();
        }
        Deed::Forget(kept) => {
            let Some(_) = model.snapshots.remove(&kept) else { return };
            handle.forget_build(build(kept)).await.unwrap();
        }
        Deed::Rollback(n, kept) => {
            let back = handle.rollback(&sandbox_id(n), build(kept), LIFE).await;
            let to = model.snapshots.get(&kept).filter(|kept| kept.source == n).cloned();
            let wanted = model.sandboxes.get_mut(&n);
            assert_eq!(back.is_ok(), to.is_some() && wanted.is_some(), "{back:?}");
            if let (Some(Kept { files, variables, keep, .. }), Some(wanted)) = (to, wanted) {
                assert!(keep == Keep::Memory || variables.is_empty());
                *wanted = Wanted { files, variables, asleep: None };
            }
        }
        _ => {}
    }
}

/// A server that is killed half-way, and the next one. What comes of the pause
/// follows from how far it had got; nothing is lost in any case.
async fn die(host: &Host, handle: Handle, model: &mut Model, deed: Deed) -> Handle {
    let (n, point) = match deed {
        Deed::DiePausing(n, at) | Deed::DieSnapshotting(n, at) => (n, Point::CHECKPOINT[at]),
        Deed::DieResuming(n, at) => (n, WAKING[at]),
        _ => return handle,
    };
    let Some(wanted) = model.sandboxes.get_mut(&n) else { return handle };
    let is_resuming = matches!(deed, Deed::DieResuming(..));
    if wanted.asleep.is_some() != is_resuming {
        return handle;
    }
    host.script.stop(Some(point));
    let id = sandbox_id(n);
    let moving = async {
        match deed {
            Deed::DiePausing(..) => handle.pause(&id, Keep::Memory, true).await.map(drop),
            Deed::DieResuming(..) => handle.resume(&id, LIFE, Waking::Kept).await.map(drop),
            _ => handle.checkpoint(&id, Keep::Memory).await.map(drop),
        }
    };
    tokio::select! {
        done = moving => panic!("{point:?} was not passed: {done:?}"),
        () = host.script.stopped.notified() => {}
    }
    handle.abandon().await;
    host.script.stop(None);
    let handle = host.open().await;
    if is_resuming {
        until("it sleeps again", || phase(&handle, n) == Some(Phase::Paused)).await;
    }
    if matches!(deed, Deed::DiePausing(..)) && is_named(point) {
        fall_asleep(wanted, Keep::Memory);
    }
    handle
}

/// How many histories; more by `WARREN_HISTORIES`.
fn cases() -> u32 {
    std::env::var("WARREN_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn no_history_loses_or_shares_anything(history in prop::collection::vec(deeds(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live_through(&history));
    }
}

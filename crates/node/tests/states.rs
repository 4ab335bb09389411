//! States that are written down, on the simulated backend: snapshots, forks,
//! pauses with memory, rollbacks; whatever fails or dies in between.

#![expect(clippy::unwrap_used, reason = "the lint does not see that helpers of tests are tests")]

mod support;

use std::time::Duration;

use model::{AtTimeout, BuildId, KilledBy, Policy, TemplateId};
use runtime::sim::{Act, Fault};
use support::{Host, files, phase, request, sandbox_id, until, write};
use warren_node::{
    CreateSandbox, DiffPage, DiffRequest, Difference, Error, Handle, Keep, Phase, Point, Waking,
};

const LIFE: Duration = Duration::from_mins(1);
const SNAPSHOT: BuildId = BuildId::from_u128(0xabc);

fn generations(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.path().join("generations")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn template() -> TemplateId {
    "snapshotsnapshotsnap".parse().unwrap()
}

async fn snapshot(handle: &Handle, n: u32, keep: Keep) {
    let state = handle.checkpoint(&sandbox_id(n), keep).await.unwrap();
    handle.keep_checkpoint(&state, &template(), SNAPSHOT).await.unwrap();
}

fn of_snapshot(n: u32) -> CreateSandbox {
    CreateSandbox { build_id: SNAPSHOT, access_token: Some(format!("token {n}")), ..request(n) }
}

fn init(host: &Host, n: u32) -> serde_json::Value {
    host.world.running(&sandbox_id(n)).unwrap().init().unwrap()
}

#[tokio::test]
async fn a_snapshot_is_what_was_and_belongs_to_nobody() {
    for keep in [Keep::Files, Keep::Memory] {
        let host = Host::new();
        let handle = host.open().await;
        handle.create(request(1)).await.unwrap();
        write(&host, 1, "kept", "then");
        let reach = handle.dialer(&sandbox_id(1)).unwrap();
        snapshot(&handle, 1, keep).await;
        assert!(!reach.ended.is_cancelled(), "it went on");
        write(&host, 1, "kept", "now");
        handle.create(of_snapshot(2)).await.unwrap();
        assert_eq!((&*files(&host, 2)["kept"], &*files(&host, 1)["kept"]), ("then", "now"));
        let told = init(&host, 2);
        assert_eq!((&told["accessToken"], &told["sandboxId"]), (&"token 2".into(), &"i2".into()));
        assert_eq!(told["woken"].is_object(), keep == Keep::Memory, "{told}");
        assert_eq!(told["woken"]["machineId"].is_string(), keep == Keep::Memory, "it is another one");
        // It outlives its source, its children and the server.
        for n in [1, 2] {
            handle.kill(&sandbox_id(n), KilledBy::Client).await.unwrap();
        }
        handle.abandon().await;
        let handle = host.open().await;
        handle.create(of_snapshot(3)).await.unwrap();
        assert_eq!(files(&host, 3)["kept"], "then");
        handle.forget_build(SNAPSHOT).await.unwrap();
        until("it is removed", || generations(&host).is_empty()).await;
        assert_eq!(files(&host, 3)["kept"], "then", "a child has a copy");
        assert!(matches!(handle.create(of_snapshot(4)).await, Err(Error::UnknownBuild(_))));
    }
}

#[tokio::test]
async fn forks_share_one_state_which_goes_with_the_last() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "kept", "yes");
    let state = handle.checkpoint(&sandbox_id(1), Keep::Memory).await.unwrap();
    for n in 2..=4 {
        let order = CreateSandbox { from: Some(state.generation), ..request(n) };
        handle.create(order).await.unwrap();
        write(&host, n, "own", &n.to_string());
    }
    for n in 2..=4 {
        assert_eq!((&*files(&host, n)["kept"], &*files(&host, n)["own"]), ("yes", &*n.to_string()));
    }
    assert!(!files(&host, 1).contains_key("own"));
    assert_eq!(generations(&host).len(), 1);
    drop(state);
    until("it is removed", || generations(&host).is_empty()).await;
}

#[tokio::test]
async fn a_pause_with_memory_costs_nothing_and_wakes_as_it_was() {
    let host = Host::new();
    let mut handle = host.open().await;
    let nothing = handle.promised();
    handle.create(request(1)).await.unwrap();
    for round in 1..=3 {
        write(&host, 1, &format!("file {round}"), "kept");
        let paused = handle.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
        assert!(paused.phase == Phase::Paused && paused.keeps_memory);
        assert_eq!(handle.promised(), nothing);
        let now = host.world.inventory();
        assert!(now.reserved.is_empty() && now.running.is_empty() && now.prepared.is_empty());
        handle.abandon().await;
        handle = host.open().await;
        assert!(handle.get(&sandbox_id(1)).unwrap().keeps_memory, "also for the next server");
        let waking = if round == 2 { Waking::Reboot } else { Waking::Kept };
        handle.resume(&sandbox_id(1), LIFE, waking).await.unwrap();
        assert_eq!(files(&host, 1).len(), round);
        let told = init(&host, 1);
        assert_eq!(told["woken"].is_object(), waking == Waking::Kept, "{told}");
        assert!(told["woken"]["machineId"].is_null(), "it is the same one: {told}");
        until("what it slept on is removed", || generations(&host).is_empty()).await;
    }
    handle.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
    assert_eq!(generations(&host).len(), 1);
    handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
    until("what it slept on is removed", || generations(&host).is_empty()).await;
    assert!(!host.sandbox_dir(&sandbox_id(1)).exists());
}

#[tokio::test]
async fn a_checkpoint_during_another_one_is_refused_and_a_kill_is_not() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    host.script.stop(Some(Point::BeforePublish));
    let id = sandbox_id(1);
    let first = handle.checkpoint(&id, Keep::Memory);
    tokio::pin!(first);
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = host.script.stopped.notified() => {}
    }
    let seen = handle.get(&id).unwrap();
    assert!(seen.is_snapshotting && seen.phase == Phase::Running, "{seen:?}");
    for keep in [Keep::Files, Keep::Memory] {
        let second = handle.checkpoint(&id, keep).await;
        assert!(matches!(second, Err(Error::Snapshotting(_))), "{second:?}");
    }
    handle.kill(&id, KilledBy::Client).await.unwrap();
    assert!(matches!(first.await, Err(Error::Ending(_))));
    host.script.stop(None);
    until("nothing is left of it", || generations(&host).is_empty()).await;
}

#[tokio::test]
async fn a_fault_at_any_step_of_a_checkpoint_leaves_a_sandbox_that_goes_on() {
    for point in Point::CHECKPOINT {
        let host = Host::new();
        let handle = host.open().await;
        handle.create(request(1)).await.unwrap();
        write(&host, 1, "kept", "yes");
        let before = host.footprint(&handle);
        host.script.fail(point, 1);
        let failed = handle.checkpoint(&sandbox_id(1), Keep::Memory).await;
        assert!(matches!(failed, Err(Error::Checkpoint { .. })), "{point:?}: {failed:?}");
        assert_eq!(phase(&handle, 1), Some(Phase::Running));
        assert_eq!(host.footprint(&handle), before, "{point:?}");
        until("nothing is left of it", || generations(&host).is_empty()).await;
        snapshot(&handle, 1, Keep::Memory).await;
    }
}

#[tokio::test]
async fn a_fault_at_any_step_of_a_pause_with_memory_loses_nothing() {
    for point in Point::CHECKPOINT.into_iter().chain(Point::PAUSE) {
        let host = Host::new();
        let handle = host.open().await;
        handle.create(request(1)).await.unwrap();
        write(&host, 1, "kept", "yes");
        host.script.fail(point, 1);
        let done = handle.pause(&sandbox_id(1), Keep::Memory, true).await;
        // Before its state has a name it goes on, afterwards it sleeps on that.
        let goes_on = [Point::BeforeCheckpoint, Point::BeforePublish].contains(&point);
        if goes_on {
            assert!(matches!(done, Err(Error::Checkpoint { .. })), "{point:?}: {done:?}");
            let machine = host.world.running(&sandbox_id(1)).unwrap();
            assert!(machine.init().unwrap()["woken"].is_null(), "{point:?}: it was never gone");
        } else {
            assert!(done.as_ref().is_ok_and(|done| done.keeps_memory), "{point:?}: {done:?}");
            assert!(host.world.running(&sandbox_id(1)).is_none(), "{point:?}");
        }
        let expected = if goes_on { Phase::Running } else { Phase::Paused };
        assert_eq!(phase(&handle, 1), Some(expected), "{point:?}");
        assert_eq!(handle.dialer(&sandbox_id(1)).is_some(), goes_on);
        handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
        assert_eq!(init(&host, 1)["woken"].is_object(), !goes_on, "{point:?}");
        assert_eq!(files(&host, 1)["kept"], "yes");
        until("nothing is left of it", || generations(&host).is_empty()).await;
    }
}

#[tokio::test]
async fn a_round_that_fails_or_hangs_harms_no_sandbox() {
    for fault in [Fault::Fail, Fault::Hang] {
        let host = Host::new();
        host.world.set_rounds(true);
        let handle = host.open().await;
        handle.create(request(1)).await.unwrap();
        write(&host, 1, "kept", "yes");
        let before = host.footprint(&handle);
        // A checkpoint without rounds is one all the same; one that hangs ends at its limit.
        for stops in [false, true] {
            host.world.inject(Act::Round, fault);
            tokio::time::pause();
            let done = if stops {
                handle.pause(&sandbox_id(1), Keep::Memory, true).await.map(drop)
            } else {
                handle.checkpoint(&sandbox_id(1), Keep::Memory).await.map(drop)
            };
            tokio::time::resume();
            assert_eq!(done.is_ok(), fault == Fault::Fail, "{fault:?}: {done:?}");
            let sleeps = stops && fault == Fault::Fail;
            let expected = if sleeps { Phase::Paused } else { Phase::Running };
            assert_eq!(phase(&handle, 1), Some(expected), "{fault:?}");
            until("nothing is left of it", || generations(&host).len() == usize::from(sleeps)).await;
        }
        handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
        assert_eq!(init(&host, 1)["woken"].is_object(), fault == Fault::Fail, "{fault:?}");
        assert_eq!(files(&host, 1)["kept"], "yes");
        until("nothing is left of it", || generations(&host).is_empty()).await;
        if fault == Fault::Hang {
            assert_eq!(host.footprint(&handle), before);
        }
        snapshot(&handle, 1, Keep::Memory).await;
    }
}

#[tokio::test]
async fn a_server_that_dies_in_a_round_finds_its_sandbox_running() {
    let host = Host::new();
    host.world.set_rounds(true);
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "kept", "yes");
    host.world.inject(Act::Round, Fault::Hang);
    let staged = async {
        until("it is in its round", || !generations(&host).is_empty()).await;
    };
    tokio::select! {
        done = async { handle.pause(&sandbox_id(1), Keep::Memory, true).await } => panic!("{done:?}"),
        () = staged => {}
    }
    handle.abandon().await;
    let handle = host.open().await;
    assert_eq!(phase(&handle, 1), Some(Phase::Running));
    assert_eq!(files(&host, 1)["kept"], "yes");
    until("nothing is left of it", || generations(&host).is_empty()).await;
    handle.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
    handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
    assert!(init(&host, 1)["woken"].is_object());
}

#[tokio::test]
async fn a_machine_that_does_not_end_as_it_should_sleeps_all_the_same() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    for fault in [Fault::Fail, Fault::Hang] {
        host.world.inject(Act::Checkpointed, fault);
        tokio::time::pause();
        let paused = handle.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
        tokio::time::resume();
        assert!(paused.phase == Phase::Paused && paused.keeps_memory, "{paused:?}");
        handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
        assert!(init(&host, 1)["woken"].is_object());
    }
}

#[tokio::test]
async fn a_server_that_dies_at_any_step_of_a_pause_with_memory_loses_nothing() {
    for point in Point::CHECKPOINT.into_iter().chain(Point::PAUSE) {
        let host = Host::new();
        let handle = host.open().await;
        handle.create(request(1)).await.unwrap();
        write(&host, 1, "kept", "yes");
        host.script.stop(Some(point));
        tokio::select! {
            done = async { handle.pause(&sandbox_id(1), Keep::Memory, true).await } => panic!("{point:?}: {done:?}"),
            () = host.script.stopped.notified() => {}
        }
        handle.abandon().await;
        host.script.stop(None);
        let handle = host.open().await;
        let now = phase(&handle, 1).unwrap();
        let goes_on = [Point::BeforeCheckpoint, Point::BeforePublish].contains(&point);
        assert_eq!(now == Phase::Running, goes_on, "{point:?}: {now:?}");
        handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
        assert_eq!(init(&host, 1)["woken"].is_object(), !goes_on, "{point:?}");
        assert_eq!(files(&host, 1)["kept"], "yes", "{point:?}");
        until("nothing is left of it", || generations(&host).is_empty()).await;
        handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
    }
}

#[tokio::test]
async fn a_wake_that_fails_or_dies_leaves_what_it_slept_on() {
    for point in Point::RESUME.into_iter().filter(|point| *point != Point::BeforeUnpark) {
        let point = if point == Point::BeforeWake { Point::BeforePrepare } else { point };
        let host = Host::new();
        let handle = host.open().await;
        handle.create(request(1)).await.unwrap();
        write(&host, 1, "kept", "yes");
        handle.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
        host.script.fail(point, 1);
        let failed = handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await;
        assert!(matches!(failed, Err(Error::Resume { .. })), "{point:?}: {failed:?}");
        assert!(handle.get(&sandbox_id(1)).unwrap().keeps_memory);
        host.script.stop(Some(point));
        tokio::select! {
            done = async { handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await } => panic!("{point:?}: {done:?}"),
            () = host.script.stopped.notified() => {}
        }
        handle.abandon().await;
        host.script.stop(None);
        let handle = host.open().await;
        until("it sleeps again", || phase(&handle, 1) == Some(Phase::Paused)).await;
        handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
        assert_eq!(files(&host, 1)["kept"], "yes");
        assert!(init(&host, 1)["woken"].is_object(), "with its memory: {point:?}");
    }
}

#[tokio::test]
async fn memory_that_is_damaged_is_named_and_its_files_can_be_used() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "kept", "yes");
    handle.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
    let memory = host.path().join("generations").join(&generations(&host)[0]).join("memory");
    for file in std::fs::read_dir(memory).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let failed = handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap_err();
    assert!(failed.to_string().contains("reading its memory back"), "{failed}");
    let mut causes = std::iter::successors(Some(&failed as &dyn std::error::Error), |error| error.source());
    assert!(causes.any(|cause| cause.to_string().ends_with("was changed")), "{failed:?}");
    handle.resume(&sandbox_id(1), LIFE, Waking::Reboot).await.unwrap();
    assert_eq!(files(&host, 1)["kept"], "yes");
}

/// The error with all its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Something done to files.
type Deed<'a> = &'a dyn Fn();

#[tokio::test]
async fn damage_after_a_good_wake_is_found_however_it_is_hidden() {
    use std::fs::{self, File, FileTimes};
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "kept", "yes");
    snapshot(&handle, 1, Keep::Memory).await;
    let memory = host.path().join("generations").join(&generations(&host)[0]).join("memory");
    let path = fs::read_dir(&memory).unwrap().next().unwrap().unwrap().path();
    let (whole, times) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
    let times = FileTimes::new().set_modified(times.modified().unwrap());
    let changed = [&whole[..whole.len() - 1], b" "].concat();
    let put_at = |to: &std::path::Path, bytes: &[u8]| {
        fs::write(to, bytes).unwrap();
        File::options().write(true).open(to).unwrap().set_times(times).unwrap();
    };
    let put = |bytes: &[u8]| put_at(&path, bytes);
    let beside = memory.join("beside");
    let in_place_of = |bytes: &[u8]| {
        put_at(&beside, bytes);
        fs::rename(&beside, &path).unwrap();
    };

    let ways: [(&str, Deed<'_>, Deed<'_>); 4] = [
        ("was changed", &|| put(&changed), &|| put(&whole)),
        ("was changed", &|| in_place_of(&changed), &|| in_place_of(&whole)),
        ("does not belong there", &|| put_at(&beside, b""), &|| fs::remove_file(&beside).unwrap()),
        ("is missing", &|| fs::remove_file(&path).unwrap(), &|| put(&whole)),
    ];
    for (n, (said, damage, repair)) in (2..).zip(ways) {
        handle.create(of_snapshot(n * 10)).await.unwrap();
        damage();
        for _ in 0..2 {
            let refused = handle.create(of_snapshot(n * 10 + 1)).await.unwrap_err();
            assert!(chain(&refused).contains(said), "{refused:?}");
        }
        repair();
        handle.create(of_snapshot(n * 10 + 2)).await.unwrap();
        put(&whole);
        handle.create(of_snapshot(n * 10 + 3)).await.unwrap();
        for n in [n * 10, n * 10 + 2, n * 10 + 3] {
            handle.kill(&sandbox_id(n), KilledBy::Client).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_youngest_states_that_stand_are_a_sandboxs_kin() {
    let (host, id) = (Host::new(), sandbox_id(1));
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    let mut made = Vec::new();
    for n in 1..=6 {
        let state = handle.checkpoint(&id, Keep::Memory).await.unwrap();
        made.insert(0, state.generation.to_string());
        handle.keep_checkpoint(&state, &template(), BuildId::from_u128(n)).await.unwrap();
    }
    handle.checkpoint(&id, Keep::Files).await.unwrap();
    let sleep = || handle.pause(&id, Keep::Memory, true);
    let kin = || {
        let text = std::fs::read_to_string(host.sandbox_dir(&id).join("sandbox.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value::<Vec<String>>(record["kin"].clone()).unwrap()
    };
    sleep().await.unwrap();
    assert_eq!(kin(), made[..4]);
    // What it sleeps on goes when it wakes, and pushes none away that stands.
    for _ in 0..5 {
        handle.resume(&id, LIFE, Waking::Kept).await.unwrap();
        until("what it slept on is removed", || generations(&host).len() == 6).await;
        sleep().await.unwrap();
    }
    assert_eq!(kin()[1..], made[..3]);
    for n in 1..=6 {
        handle.forget_build(BuildId::from_u128(n)).await.unwrap();
    }
    until("only what it sleeps on stands", || generations(&host).len() == 1).await;
    handle.resume(&id, LIFE, Waking::Kept).await.unwrap();
    sleep().await.unwrap();
    assert_eq!(kin().len(), 1);
    // A child has its parent's state for kin.
    handle.resume(&id, LIFE, Waking::Kept).await.unwrap();
    let state = handle.checkpoint(&id, Keep::Memory).await.unwrap();
    handle.create(CreateSandbox { from: Some(state.generation), ..request(2) }).await.unwrap();
    let text = std::fs::read_to_string(host.sandbox_dir(&sandbox_id(2)).join("sandbox.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["kin"], serde_json::json!([state.generation.to_string()]));
}

#[tokio::test]
async fn a_manifest_with_a_changed_byte_is_named_and_starts_nothing() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "kept", "yes");
    snapshot(&handle, 1, Keep::Memory).await;
    handle.pause(&sandbox_id(1), Keep::Memory, true).await.unwrap();
    for generation in generations(&host) {
        let path = host.path().join("generations").join(generation).join("manifest.json");
        // Still JSON, of the same meaning to whoever does not look at the bytes.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("FROM"), "{text}");
        std::fs::write(&path, text.replace("FROM", "FRoM")).unwrap();
    }
    let named = |error: Error| {
        let mut causes =
            std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        causes.any(|cause| cause.to_string().ends_with("was changed"))
    };
    assert!(named(handle.create(of_snapshot(2)).await.unwrap_err()));
    assert!(named(handle.rollback(&sandbox_id(1), SNAPSHOT, LIFE).await.unwrap_err()));
    assert!(named(handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap_err()));
    assert!(host.world.inventory().running.is_empty());
    handle.resume(&sandbox_id(1), LIFE, Waking::Reboot).await.unwrap();
    assert_eq!(files(&host, 1)["kept"], "yes");
}

#[tokio::test]
async fn one_whose_daemon_was_stuck_wakes_only_from_its_files() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    tokio::time::pause();
    host.world.inject(Act::Init, Fault::Hang);
    let paused = handle.pause(&sandbox_id(1), Keep::Memory, false).await.unwrap();
    tokio::time::resume();
    assert!(paused.keeps_memory && paused.unresponsive_at_pause);
    let refused = handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await;
    assert!(matches!(refused, Err(Error::WasUnresponsive(_))), "{refused:?}");
    handle.resume(&sandbox_id(1), LIFE, Waking::Reboot).await.unwrap();
}

#[tokio::test]
async fn a_timeout_keeps_memory_where_that_is_wanted_or_at_least_the_files() {
    let host = Host::new();
    let handle = host.open().await;
    let policy = Policy { at_timeout: AtTimeout::PauseMemory, ..Policy::default() };
    for n in [1, 2] {
        handle
            .create(CreateSandbox { timeout: Duration::from_millis(200), policy, ..request(n) })
            .await
            .unwrap();
        if n == 1 {
            host.script.fail(Point::BeforeCheckpoint, 1);
        }
        until("it sleeps", || phase(&handle, n) == Some(Phase::Paused)).await;
        assert_eq!(handle.get(&sandbox_id(n)).unwrap().keeps_memory, n == 2);
    }
}

#[tokio::test]
async fn a_rollback_goes_back_under_the_same_id() {
    for keep in [Keep::Files, Keep::Memory] {
        let host = Host::new();
        let handle = host.open().await;
        handle.create(request(1)).await.unwrap();
        handle.create(request(2)).await.unwrap();
        write(&host, 1, "kept", "then");
        snapshot(&handle, 1, keep).await;
        write(&host, 1, "kept", "now");
        write(&host, 1, "new", "now");
        let foreign = handle.rollback(&sandbox_id(2), SNAPSHOT, LIFE).await;
        assert!(matches!(foreign, Err(Error::NoState(_))), "{foreign:?}");
        let back = handle.rollback(&sandbox_id(1), SNAPSHOT, LIFE).await.unwrap();
        assert_eq!((back.phase, back.deadline.since(back.started_at)), (Phase::Running, LIFE));
        assert_eq!(files(&host, 1).get("kept").map(String::as_str), Some("then"));
        assert!(!files(&host, 1).contains_key("new"));
        // From sleep, and although the wake fails.
        for pause in [Keep::Files, Keep::Memory] {
            write(&host, 1, "kept", "later");
            handle.pause(&sandbox_id(1), pause, true).await.unwrap();
            host.script.fail(Point::BeforeBoot, 1);
            handle.rollback(&sandbox_id(1), SNAPSHOT, LIFE).await.unwrap_err();
            assert_eq!(phase(&handle, 1), Some(Phase::Paused));
            handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
            assert_eq!(files(&host, 1)["kept"], "then");
        }
        until("only the snapshot is left", || generations(&host).len() == 1).await;
        handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
        handle.create(of_snapshot(3)).await.unwrap();
    }
}

#[tokio::test]
async fn states_are_compared_by_their_files() {
    const LATER: BuildId = BuildId::from_u128(0xdef);
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "gone", "x");
    write(&host, 1, "same", "x");
    write(&host, 1, "other", "one");
    snapshot(&handle, 1, Keep::Files).await;
    write(&host, 1, "other", "two");
    write(&host, 1, "new", "");
    std::fs::remove_file(support::upper(&host, 1).join("gone")).unwrap();
    let state = handle.checkpoint(&sandbox_id(1), Keep::Memory).await.unwrap();
    handle.keep_checkpoint(&state, &template(), LATER).await.unwrap();
    drop(state);
    handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();

    let page = |after: Option<&str>, limit| DiffRequest { after: after.map(Into::into), limit };
    let all = handle.diff(SNAPSHOT, LATER, page(None, 10)).await.unwrap();
    let seen = |page: &DiffPage| -> Vec<(String, bool, bool)> {
        let one = |d: &Difference| (d.path.display().to_string(), d.before.is_some(), d.after.is_some());
        page.differences.iter().map(one).collect()
    };
    let wanted = [("/gone", true, false), ("/new", false, true), ("/other", true, true)];
    assert_eq!(seen(&all), wanted.map(|(path, was, is)| (path.to_owned(), was, is)));
    assert_eq!(all.next, None);
    let first = handle.diff(SNAPSHOT, LATER, page(None, 1)).await.unwrap();
    assert_eq!((seen(&first), first.next), (seen(&all)[..1].to_vec(), Some("/gone".into())));
    let rest = handle.diff(SNAPSHOT, LATER, page(Some("/gone"), 10)).await.unwrap();
    assert_eq!(seen(&rest), seen(&all)[1..]);
    assert_eq!(handle.diff(LATER, LATER, page(None, 10)).await.unwrap(), DiffPage::default());
    // A build that is no state has no files to compare.
    for (from, to) in [(support::BUILD, LATER), (LATER, BuildId::from_u128(9))] {
        assert!(matches!(handle.diff(from, to, page(None, 10)).await, Err(Error::UnknownBuild(_))));
    }
}

//! Pauses on the simulated backend: files outlive every failure, every death of
//! the server, and every history.

#![expect(clippy::unwrap_used, reason = "the lint does not see that helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{AtTimeout, KilledBy, Policy};
use proptest::prelude::*;
use runtime::sim::{Act, Fault};
use support::{Host, files, phase, request, sandbox_id, until, upper, write};
use warren_node::{CreateSandbox, Error, Handle, Keep, Phase, Point, Sandboxes, Waking};

const LIFE: Duration = Duration::from_mins(1);

fn pausing_at_timeout(n: u32, timeout: Duration) -> CreateSandbox {
    let policy = Policy { at_timeout: AtTimeout::PauseFiles, ..Policy::default() };
    CreateSandbox { timeout, policy, ..request(n) }
}

#[tokio::test]
async fn a_sleeper_costs_nothing_but_its_files() {
    let host = Host::new();
    let handle = host.open().await;
    let nothing = handle.promised();
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "kept", "yes");
    let reach = handle.dialer(&sandbox_id(1)).unwrap();
    let paused = handle.pause(&sandbox_id(1), Keep::Files, true).await.unwrap();
    assert_eq!(paused.phase, Phase::Paused);
    assert!(reach.ended.is_cancelled() && handle.dialer(&sandbox_id(1)).is_none());
    assert_eq!(handle.promised(), nothing);
    let now = host.world.inventory();
    assert!(now.reserved.is_empty() && now.running.is_empty());
    assert!(matches!(handle.pause(&sandbox_id(1), Keep::Files, true).await, Err(Error::Paused(_))));
    assert!(matches!(handle.metrics(&sandbox_id(1)).await, Err(Error::Paused(_))));
    assert!(matches!(handle.create(request(1)).await, Err(Error::Exists(_))));
    // Its place goes to others, who keep it when it wakes or ends.
    for n in 2..=5 {
        handle.create(request(n)).await.unwrap();
    }
    let full = handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await;
    assert!(matches!(full, Err(Error::Exhausted { .. })), "{full:?}");
    assert_eq!(phase(&handle, 1), Some(Phase::Paused));
    handle.kill(&sandbox_id(3), KilledBy::Client).await.unwrap();
    let woken = handle.resume(&sandbox_id(1), LIFE, Waking::Kept).await.unwrap();
    assert_eq!((woken.phase, woken.deadline.since(woken.started_at)), (Phase::Running, LIFE));
    assert_eq!(files(&host, 1)["kept"], "yes");
    let init = host.world.running(&sandbox_id(1)).unwrap().init().unwrap();
    assert_eq!((&init["accessToken"], &init["envVars"]["A"]), (&"secret".into(), &"b".into()));
    assert_ne!(handle.dialer(&sandbox_id(1)).unwrap().generation, reach.generation);
    let again = handle.resume(&sandbox_id(1), Duration::ZERO, Waking::Kept).await.unwrap();
    assert_eq!(again.deadline, woken.deadline, "one that runs is left as it is");
    handle.pause(&sandbox_id(1), Keep::Files, true).await.unwrap();
    let others = (handle.promised(), host.world.inventory().running);
    handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
    assert_eq!((handle.promised(), host.world.inventory().running), others);
    assert!(!host.sandbox_dir(&sandbox_id(1)).exists());
}

#[tokio::test]
async fn pauses_and_resumes_at_once_are_one() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    let id = sandbox_id(1);
    host.world.inject(Act::Kill, Fault::Delay(Duration::from_millis(100)));
    let late = async {
        until("it is on its way", || phase(&handle, 1) == Some(Phase::Pausing)).await;
        handle.pause(&id, Keep::Files, true).await
    };
    let (first, second) = tokio::join!(handle.pause(&id, Keep::Files, true), late);
    assert_eq!((first.unwrap().phase, second.unwrap().phase), (Phase::Paused, Phase::Paused));
    let (first, second) =
        tokio::join!(handle.resume(&id, LIFE, Waking::Kept), handle.resume(&id, LIFE, Waking::Kept));
    // Asked before the first of them was begun, too.
    let both = tokio::join!(handle.pause(&id, Keep::Files, true), handle.pause(&id, Keep::Files, true));
    assert_eq!((both.0.unwrap().phase, both.1.unwrap().phase), (Phase::Paused, Phase::Paused));
    assert!(matches!(handle.pause(&id, Keep::Files, true).await, Err(Error::Paused(_))));
    assert_eq!(first.unwrap().started_at, second.unwrap().started_at);
}

#[tokio::test]
async fn a_timeout_pauses_where_that_is_wanted_also_after_a_restart() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(pausing_at_timeout(1, Duration::from_millis(100))).await.unwrap();
    handle.create(pausing_at_timeout(2, Duration::from_millis(300))).await.unwrap();
    until("the first sleeps", || phase(&handle, 1) == Some(Phase::Paused)).await;
    handle.shutdown(Sandboxes::Leave).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let handle = host.open().await;
    assert_eq!(phase(&handle, 1), Some(Phase::Paused));
    until("the second sleeps", || phase(&handle, 2) == Some(Phase::Paused)).await;
    for n in [1, 2] {
        handle.resume(&sandbox_id(n), LIFE, Waking::Kept).await.unwrap();
    }
}

#[tokio::test]
async fn one_whose_daemon_is_stuck_is_not_paused_if_that_is_demanded() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    tokio::time::pause();
    host.world.inject(Act::Init, Fault::Hang);
    let stuck = handle.pause(&sandbox_id(1), Keep::Files, true).await;
    assert!(matches!(stuck, Err(Error::Unresponsive(_))), "{stuck:?}");
    assert_eq!(phase(&handle, 1), Some(Phase::Running));
    tokio::time::resume();
    host.world.inject(Act::Init, Fault::Hang);
    handle.pause(&sandbox_id(1), Keep::Files, false).await.unwrap();
}

#[tokio::test]
async fn a_fault_at_any_step_of_a_pause_is_overcome() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "kept", "yes");
    let id = sandbox_id(1);
    for point in Point::PAUSE {
        host.script.fail(point, 2);
        handle.pause(&id, Keep::Files, true).await.unwrap();
        assert!(host.world.inventory().reserved.is_empty(), "{point:?}");
        handle.resume(&id, LIFE, Waking::Kept).await.unwrap();
        assert_eq!(files(&host, 1)["kept"], "yes", "{point:?}");
    }
    for act in [Act::Kill, Act::Park, Act::Unreserve] {
        host.world.inject(act, Fault::Fail);
        handle.pause(&id, Keep::Files, true).await.unwrap();
        handle.resume(&id, LIFE, Waking::Kept).await.unwrap();
    }
}

#[tokio::test]
async fn a_fault_at_any_step_of_a_resume_leaves_it_asleep_with_its_files() {
    let host = Host::new();
    let handle = host.open().await;
    let id = sandbox_id(1);
    handle.create(request(1)).await.unwrap();
    write(&host, 1, "kept", "yes");
    handle.pause(&id, Keep::Files, true).await.unwrap();
    let before = host.footprint(&handle);
    for point in Point::RESUME {
        host.script.fail(point, 1);
        let failed = handle.resume(&id, LIFE, Waking::Kept).await.unwrap_err();
        assert!(matches!(failed, Error::Resume { .. }), "{point:?} {failed:?}");
        assert_eq!(phase(&handle, 1), Some(Phase::Paused), "{point:?}");
        assert_eq!(host.footprint(&handle), before, "{point:?}");
    }
    for act in [Act::Reserve, Act::Unpark, Act::Boot, Act::Booted] {
        host.world.inject(act, Fault::Fail);
        handle.resume(&id, LIFE, Waking::Kept).await.unwrap_err();
        assert_eq!(host.footprint(&handle), before, "{act:?}");
    }
    handle.resume(&id, LIFE, Waking::Kept).await.unwrap();
    assert_eq!(files(&host, 1)["kept"], "yes");
}

#[tokio::test]
async fn a_server_that_dies_at_any_step_leaves_the_files() {
    for point in Point::PAUSE.into_iter().chain(Point::RESUME) {
        let host = Host::new();
        let handle = host.open().await;
        let id = sandbox_id(1);
        handle.create(request(1)).await.unwrap();
        write(&host, 1, "kept", "yes");
        if Point::RESUME.contains(&point) {
            handle.pause(&id, Keep::Files, true).await.unwrap();
        }
        host.script.stop(Some(point));
        let moving = async {
            match phase(&handle, 1) {
                Some(Phase::Paused) => handle.resume(&id, LIFE, Waking::Kept).await.map(drop),
                _ => handle.pause(&id, Keep::Files, true).await.map(drop),
            }
        };
        tokio::select! {
            () = host.script.stopped.notified() => {}
            moved = moving => panic!("{point:?} was not passed: {moved:?}"),
        }
        handle.abandon().await;
        host.script.stop(None);
        let handle = host.open().await;
        assert_eq!(phase(&handle, 1), Some(Phase::Paused), "{point:?}");
        assert!(host.world.inventory().reserved.is_empty(), "{point:?}");
        handle.resume(&id, LIFE, Waking::Kept).await.unwrap();
        assert_eq!(files(&host, 1)["kept"], "yes", "{point:?}");
        handle.kill(&id, KilledBy::Client).await.unwrap();
        assert_eq!(host.world.inventory(), runtime::sim::Inventory::default(), "{point:?}");
    }
}

#[tokio::test]
async fn a_kill_pre_empts_each_stuck_step() {
    let stuck =
        [(Act::Kill, false), (Act::Park, false), (Act::Unpark, true), (Act::Boot, true), (Act::Init, true)];
    for (act, waking) in stuck {
        let host = Host::new();
        let handle = host.open().await;
        let before = host.footprint(&handle);
        handle.create(request(1)).await.unwrap();
        let id = sandbox_id(1);
        if waking {
            handle.pause(&id, Keep::Files, true).await.unwrap();
        }
        host.world.inject(act, Fault::Hang);
        let moving = tokio::spawn({
            let (handle, id) = (handle.clone(), id.clone());
            async move {
                if waking {
                    handle.resume(&id, LIFE, Waking::Kept).await
                } else {
                    handle.pause(&id, Keep::Files, false).await
                }
            }
        });
        let on_its_way = if waking { Phase::Resuming } else { Phase::Pausing };
        until("it is on its way", || phase(&handle, 1) == Some(on_its_way)).await;
        let killing = tokio::time::timeout(Duration::from_secs(5), handle.kill(&id, KilledBy::Client));
        killing.await.unwrap_or_else(|_| panic!("the kill is stuck at {act:?}")).unwrap();
        assert!(matches!(moving.await.unwrap(), Err(Error::Ending(_))), "{act:?}");
        assert_eq!(host.footprint(&handle), before, "{act:?}");
    }
}

/// What happens in a history to one of three sandboxes, or to the server.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Create(u32),
    Write(u32, u8, u8),
    Delete(u32, u8),
    Rename(u32, u8, u8),
    Pause(u32),
    Resume(u32),
    FailResume(u32, usize),
    Kill(u32),
    KillServer,
}

fn deeds() -> impl Strategy<Value = Deed> {
    let (n, name) = (1..=3u32, 0..4u8);
    prop_oneof![
        2 => n.clone().prop_map(Deed::Create),
        4 => (n.clone(), name.clone(), any::<u8>()).prop_map(|(n, name, text)| Deed::Write(n, name, text)),
        1 => (n.clone(), name.clone()).prop_map(|(n, name)| Deed::Delete(n, name)),
        1 => (n.clone(), name.clone(), name).prop_map(|(n, from, to)| Deed::Rename(n, from, to)),
        3 => n.clone().prop_map(Deed::Pause),
        3 => n.clone().prop_map(Deed::Resume),
        1 => (n.clone(), 0..Point::RESUME.len()).prop_map(|(n, at)| Deed::FailResume(n, at)),
        1 => n.prop_map(Deed::Kill),
        1 => Just(Deed::KillServer),
    ]
}

/// What should be: whether each sandbox sleeps, and its files.
type Wanted = BTreeMap<u32, (bool, BTreeMap<String, String>)>;

async fn live_through(history: &[Deed]) {
    let host = Host::new();
    let mut handle = host.open().await;
    let mut wanted = Wanted::new();
    for deed in history {
        handle = enact(&host, handle, &mut wanted, *deed).await;
        for n in 1..=3 {
            let expected =
                wanted.get(&n).map(|(asleep, _)| if *asleep { Phase::Paused } else { Phase::Running });
            assert_eq!(phase(&handle, n), expected, "{deed:?}");
            if let Some((_, expected)) = wanted.get(&n) {
                assert_eq!(&files(&host, n), expected, "{deed:?}");
            }
        }
        let awake = wanted.values().filter(|(asleep, _)| !asleep).count();
        assert_eq!(host.world.inventory().running.len(), awake, "{deed:?}");
        assert_eq!(host.world.inventory().reserved.len(), awake, "{deed:?}");
    }
    handle.shutdown(Sandboxes::Kill).await;
}

async fn enact(host: &Host, handle: Handle, wanted: &mut Wanted, deed: Deed) -> Handle {
    match deed {
        Deed::Create(n) => {
            let made = handle.create(request(n)).await;
            assert_eq!(made.is_ok(), !wanted.contains_key(&n));
            wanted.entry(n).or_insert_with(|| (false, files(host, n)));
        }
        Deed::Write(n, name, text) => {
            if let Some((false, files)) = wanted.get_mut(&n) {
                write(host, n, &name.to_string(), &text.to_string());
                files.insert(name.to_string(), text.to_string());
            }
        }
        Deed::Delete(n, name) => {
            if let Some((false, files)) = wanted.get_mut(&n)
                && files.remove(&name.to_string()).is_some()
            {
                std::fs::remove_file(upper(host, n).join(name.to_string())).unwrap();
            }
        }
        Deed::Rename(n, from, to) => {
            if let Some((false, files)) = wanted.get_mut(&n)
                && let Some(text) = files.remove(&from.to_string())
            {
                let at = |name: u8| upper(host, n).join(name.to_string());
                std::fs::rename(at(from), at(to)).unwrap();
                files.insert(to.to_string(), text);
            }
        }
        Deed::Pause(n) => {
            let paused = handle.pause(&sandbox_id(n), Keep::Files, true).await;
            let could = wanted.get_mut(&n).is_some_and(|(asleep, _)| !std::mem::replace(asleep, true));
            assert_eq!(paused.is_ok(), could);
        }
        Deed::Resume(n) => {
            let resumed = handle.resume(&sandbox_id(n), LIFE, Waking::Kept).await;
            assert_eq!(resumed.is_ok(), wanted.contains_key(&n));
            wanted.entry(n).and_modify(|(asleep, _)| *asleep = false);
        }
        Deed::FailResume(n, at) => {
            if wanted.get(&n).is_some_and(|(asleep, _)| *asleep) {
                host.script.fail(Point::RESUME[at], 1);
                handle.resume(&sandbox_id(n), LIFE, Waking::Kept).await.unwrap_err();
            }
        }
        Deed::Kill(n) => {
            let killed = handle.kill(&sandbox_id(n), KilledBy::Client).await;
            assert_eq!(killed.is_ok(), wanted.remove(&n).is_some());
        }
        Deed::KillServer => {
            handle.abandon().await;
            return host.open().await;
        }
    }
    handle
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn no_history_loses_or_shares_a_file(history in prop::collection::vec(deeds(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live_through(&history));
    }
}

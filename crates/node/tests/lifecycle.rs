//! The life of sandboxes as the handle shows it, on the simulated backend.

mod support;

use std::time::Duration;

use model::{EndCause, KilledBy};
use runtime::Exit;
use runtime::sim::{Act, ECHO_PORT, Fault, Inventory};
use support::{BUILD, Host, phase, request, sandbox_id, unapproved, until, until_recorded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warren_node::{Error, Phase, Sandboxes};

#[tokio::test]
async fn a_sandbox_is_made_reached_and_killed() {
    let host = Host::new();
    let handle = host.open().await;
    let before = host.footprint(&handle);
    let made = handle.create(request(1)).await.unwrap();
    assert_eq!((made.phase, made.build_id, made.envd_version.as_str()), (Phase::Running, BUILD, "0.6.4"));
    assert_eq!(made.deadline.since(made.started_at), Duration::from_mins(5));
    let init = host.world.running(&sandbox_id(1)).unwrap().init().unwrap();
    assert_eq!(init["envVars"], serde_json::json!({"A": "b", "FROM": "template"}));
    assert_eq!((&init["accessToken"], &init["defaultUser"]), (&"secret".into(), &"user".into()));

    let reach = handle.dialer(&sandbox_id(1)).unwrap();
    let mut connection = reach.dial.dial(ECHO_PORT).await.unwrap();
    connection.write_all(b"ping").await.unwrap();
    let mut echoed = [0; 4];
    connection.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"ping");
    assert!(handle.metrics(&sandbox_id(1)).await.unwrap().cpu_micros > 0);

    let ended = handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
    assert_eq!(ended.cause, EndCause::Killed(KilledBy::Client));
    assert_eq!(ended.started_at, Some(made.started_at));
    assert!(ended.peaks.cpu_micros > 0);
    assert!(reach.ended.is_cancelled());
    assert!(handle.list().is_empty() && handle.dialer(&sandbox_id(1)).is_none());
    assert_eq!(handle.ended(&sandbox_id(1)), Some(ended));
    assert_eq!(host.footprint(&handle), before);
    let again = handle.kill(&sandbox_id(1), KilledBy::Client).await;
    assert!(matches!(again, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_sandbox_has_its_place_and_no_more_until_it_is_approved() {
    let host = Host::new();
    let handle = host.open().await;
    let (approver, making) = unapproved(&handle, 1);
    until_recorded(&host, 1).await;
    assert_eq!(host.world.inventory(), Inventory::default());
    assert_eq!((phase(&handle, 1), handle.promised().slots), (Some(Phase::Starting), 1));
    approver.approve();
    assert_eq!(making.await.unwrap().unwrap().phase, Phase::Running);
}

#[tokio::test]
async fn nothing_is_left_of_a_sandbox_that_is_not_approved() {
    let host = Host::new();
    let handle = host.open().await;
    let before = host.footprint(&handle);
    for is_early in [true, false] {
        let (approver, making) = unapproved(&handle, 1);
        if !is_early {
            until_recorded(&host, 1).await;
        }
        drop(approver);
        assert!(matches!(making.await.unwrap(), Err(Error::Withdrawn(_))));
        assert_eq!(host.footprint(&handle), before);
        assert_eq!(handle.ended(&sandbox_id(1)), None);
        assert!(handle.list().is_empty());
    }
    handle.create(request(1)).await.unwrap();
}

#[tokio::test]
async fn who_died_for_want_of_memory_is_in_the_record_as_far_as_it_was_counted() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    let machine = host.world.running(&sandbox_id(1)).unwrap();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let victim = |pid: u32, at: u128| {
        let at = u64::try_from(at).unwrap();
        serde_json::json!({"pid": pid, "name": "eater", "user": "user", "atMicros": at, "itself": true})
    };
    machine.starve(victim(11, now()));
    assert_eq!(handle.metrics(&sandbox_id(1)).await.unwrap().oom_kills, 1);
    // The last of them is read with the end. One it tells is from before the sandbox was made.
    machine.starve(victim(12, 1_000_000));
    machine.starve(victim(13, now()));
    let ended = handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
    let pids: Vec<_> = ended.oom_victims.iter().map(|victim| victim.pid).collect();
    assert_eq!((ended.peaks.oom_kills, pids), (3, vec![11, 13]));
    assert_eq!(ended.oom_victims[0].to_string(), "eater (pid 11, user)");
    drop(handle);
    let handle = host.open().await;
    assert_eq!(handle.ended(&sandbox_id(1)), Some(ended), "from disk");
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_starts() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    assert!(matches!(handle.create(request(1)).await, Err(Error::Exists(_))));
    let mut unknown = request(2);
    unknown.build_id = model::BuildId::from_u128(7);
    assert!(matches!(handle.create(unknown).await, Err(Error::UnknownBuild(_))));
    for n in 2..=4 {
        handle.create(request(n)).await.unwrap();
    }
    let before = host.footprint(&handle);
    let full = handle.create(request(5)).await.unwrap_err();
    assert_eq!(full.to_string(), "no room for memory: 512 MiB wanted, 0 B free");
    assert_eq!(host.footprint(&handle), before);
    handle.kill(&sandbox_id(3), KilledBy::Client).await.unwrap();
    handle.create(request(5)).await.unwrap();
    handle.shutdown(Sandboxes::Kill).await;
    assert!(matches!(handle.create(request(6)).await, Err(Error::ShuttingDown)));
    assert_eq!(host.world.inventory(), runtime::sim::Inventory::default());
}

#[tokio::test]
async fn a_deadline_ends_it_and_can_be_moved() {
    let host = Host::new();
    let handle = host.open().await;
    for (n, millis) in [(1, 200), (2, 200)] {
        let mut request = request(n);
        request.timeout = Duration::from_millis(millis);
        handle.create(request).await.unwrap();
    }
    let moved = handle.get(&sandbox_id(2)).unwrap().deadline + Duration::from_mins(1);
    let observed = handle.set_deadline(&sandbox_id(2), moved).await.unwrap();
    assert_eq!(observed.deadline, moved);
    until("the first is ended", || handle.ended(&sandbox_id(1)).is_some()).await;
    let ended = handle.ended(&sandbox_id(1)).unwrap();
    assert_eq!(ended.cause, EndCause::Timeout);
    let lived = ended.ended_at.since(ended.started_at.unwrap());
    assert!(lived >= Duration::from_millis(200) && lived < Duration::from_secs(1), "{lived:?}");
    until("it is out of view", || handle.get(&sandbox_id(1)).is_none()).await;
    assert_eq!(handle.get(&sandbox_id(2)).unwrap().phase, Phase::Running);
    let gone = handle.set_deadline(&sandbox_id(1), moved).await;
    assert!(matches!(gone, Err(Error::NotFound(_))));
    // Moved into the past: ended at once.
    handle.set_deadline(&sandbox_id(2), observed.started_at).await.unwrap();
    until("the second is ended", || handle.ended(&sandbox_id(2)).is_some()).await;
    assert_eq!(handle.ended(&sandbox_id(2)).unwrap().cause, EndCause::Timeout);
}

#[tokio::test]
async fn an_end_from_inside_is_seen_and_named() {
    let host = Host::new();
    let handle = host.open().await;
    let mut bell = handle.observe();
    for (n, exit, cause) in
        [(1, Exit::Ended, EndCause::Crashed), (2, Exit::OutOfMemory, EndCause::OutOfMemory)]
    {
        handle.create(request(n)).await.unwrap();
        host.world.running(&sandbox_id(n)).unwrap().end(exit);
        let seen = async {
            while handle.get(&sandbox_id(n)).is_some() {
                bell.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(5), seen).await.unwrap();
        assert_eq!(handle.ended(&sandbox_id(n)).unwrap().cause, cause);
    }
    assert_eq!(host.world.inventory(), runtime::sim::Inventory::default());
}

#[tokio::test]
async fn a_kill_pre_empts_each_stuck_step() {
    for act in [Act::Reserve, Act::Prepare, Act::Boot, Act::Booted, Act::Init] {
        let host = Host::new();
        let handle = host.open().await;
        let before = host.footprint(&handle);
        host.world.inject(act, Fault::Hang);
        let creating = tokio::spawn({
            let handle = handle.clone();
            async move { handle.create(request(1)).await }
        });
        until("it is seen", || handle.get(&sandbox_id(1)).is_some()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let id = sandbox_id(1);
        let killing = tokio::time::timeout(Duration::from_secs(1), handle.kill(&id, KilledBy::Client));
        let ended = killing.await.unwrap_or_else(|_| panic!("the kill is stuck at {act:?}")).unwrap();
        assert_eq!((ended.cause, ended.started_at), (EndCause::Killed(KilledBy::Client), None));
        assert!(matches!(creating.await.unwrap(), Err(Error::Ending(_))), "{act:?}");
        assert_eq!(host.footprint(&handle), before, "{act:?}");
    }
}

#[tokio::test]
async fn a_shutdown_waits_only_so_long_for_a_stuck_step() {
    for act in [Act::Reserve, Act::Prepare, Act::Boot, Act::Booted, Act::Init] {
        let host = Host::new();
        let mut options = host.options();
        options.limits.shutdown = Duration::from_millis(50);
        let (handle, _) = host.open_with(options).await;
        let before = host.footprint(&handle);
        host.world.inject(act, Fault::Hang);
        let creating = tokio::spawn({
            let handle = handle.clone();
            async move { handle.create(request(1)).await }
        });
        until("it is seen", || handle.get(&sandbox_id(1)).is_some()).await;
        let leaving = tokio::time::timeout(Duration::from_secs(20), handle.shutdown(Sandboxes::Leave));
        leaving.await.unwrap_or_else(|_| panic!("the shutdown is stuck at {act:?}"));
        assert!(matches!(creating.await.unwrap(), Err(Error::ShuttingDown)), "{act:?}");
        drop(handle);
        let next = host.open().await;
        until("the next start has mended it", || host.footprint(&next) == before).await;
    }
}

#[tokio::test]
async fn a_create_that_nobody_waits_for_is_undone() {
    let host = Host::new();
    let handle = host.open().await;
    let before = host.footprint(&handle);
    host.world.inject(Act::Boot, Fault::Delay(Duration::from_millis(200)));
    let dropped = tokio::time::timeout(Duration::from_millis(20), handle.create(request(1))).await;
    assert!(dropped.is_err());
    until("it is gone", || handle.get(&sandbox_id(1)).is_none()).await;
    assert_eq!(host.footprint(&handle), before);
}

#[tokio::test]
async fn concurrent_kills_get_the_same_record() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    host.world.inject(Act::Kill, Fault::Delay(Duration::from_millis(50)));
    let id = sandbox_id(1);
    let first = handle.kill(&id, KilledBy::Client);
    let second = handle.kill(&id, KilledBy::Operator);
    let asking = handle.set_deadline(&id, model::Timestamp::from_unix_micros(0));
    let (first, second, asked) = tokio::join!(first, second, asking);
    assert_eq!(first.unwrap(), second.unwrap());
    assert!(matches!(asked, Err(Error::Ending(_))));
}

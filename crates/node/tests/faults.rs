//! Every failure leaves the host as it was; every crash is mended by the next start.

mod support;

use std::time::Duration;

use model::{EndCause, KilledBy};
use runtime::sim::{Act, Fault, Inventory};
use support::{Host, request, sandbox_id, unapproved, until, until_recorded};
use warren_node::{Error, Phase, Point, Sandboxes, Unusable};

#[tokio::test]
async fn a_fault_at_any_step_of_a_start_leaves_the_host_as_before_twice() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(1)).await.unwrap();
    let before = host.footprint(&handle);
    for point in Point::START {
        for round in 0..2 {
            host.script.fail(point, 1);
            let failed = handle.create(request(2)).await.unwrap_err();
            assert!(matches!(failed, Error::Start { .. }), "{point:?} {failed:?}");
            assert_eq!(host.footprint(&handle), before, "{point:?}, round {round}");
            assert_eq!(handle.ended(&sandbox_id(2)).unwrap().cause, EndCause::StartFailed);
        }
    }
    // And the backend's own failures.
    for act in [Act::Reserve, Act::Prepare, Act::Boot, Act::Booted] {
        host.world.inject(act, Fault::Fail);
        let failed = handle.create(request(2)).await.unwrap_err();
        assert!(matches!(failed, Error::Start { .. }), "{act:?} {failed:?}");
        assert_eq!(host.footprint(&handle), before, "{act:?}");
    }
    handle.create(request(2)).await.unwrap();
}

#[tokio::test]
async fn a_fault_at_any_step_of_an_end_is_retried_and_the_undo_is_safe_twice() {
    let host = Host::new();
    let handle = host.open().await;
    let before = host.footprint(&handle);
    for point in Point::END {
        handle.create(request(1)).await.unwrap();
        host.script.fail(point, 2);
        let ended = handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
        assert_eq!(ended.cause, EndCause::Killed(KilledBy::Client));
        assert_eq!(host.footprint(&handle), before, "{point:?}");
    }
    for act in [Act::Kill, Act::Unprepare, Act::Unreserve] {
        handle.create(request(1)).await.unwrap();
        host.world.inject(act, Fault::Fail);
        host.world.inject(act, Fault::Fail);
        handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
        assert_eq!(host.footprint(&handle), before, "{act:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_removed_keeps_its_slot_until_it_is() {
    let host = Host::new();
    let handle = host.open().await;
    let before = host.footprint(&handle);
    handle.create(request(1)).await.unwrap();
    host.script.fail(Point::BeforeUnreserve, 6);
    handle.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
    assert!(handle.get(&sandbox_id(1)).is_none());
    assert_eq!(handle.promised().slots, 1, "the slot stays taken");
    let known = handle.ended(&sandbox_id(1)).expect("who sees that it is gone can ask why");
    assert_eq!(known.cause, EndCause::Killed(KilledBy::Client));
    until("the remains are removed", || handle.promised().slots == 0).await;
    assert_eq!(host.footprint(&handle), before);
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_start_is_mended_by_the_next_server() {
    for point in Point::START {
        let host = Host::new();
        let first = host.open().await;
        let before = host.footprint(&first);
        host.script.stop(Some(point));
        let creating = tokio::spawn({
            let first = first.clone();
            async move { first.create(request(1)).await }
        });
        host.script.stopped.notified().await;
        first.abandon().await;
        creating.abort();
        host.script.stop(None);

        let second = host.open().await;
        if point == Point::BeforeReply {
            // Usable and recorded: it lives on, with its deadline.
            let adopted = second.get(&sandbox_id(1)).expect("adopted");
            assert_eq!(adopted.phase, Phase::Running);
            assert_eq!(adopted.deadline.since(adopted.started_at), Duration::from_mins(5));
            assert!(second.dialer(&sandbox_id(1)).is_some());
            second.kill(&sandbox_id(1), KilledBy::Client).await.unwrap();
        }
        until("it is gone", || second.list().is_empty()).await;
        assert_eq!(host.footprint(&second), before, "{point:?}");
        if !matches!(point, Point::BeforeRecord | Point::BeforeReply) {
            assert_eq!(second.ended(&sandbox_id(1)).unwrap().cause, EndCause::HostLost, "{point:?}");
        }
        second.create(request(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_crash_before_a_start_is_approved_leaves_nothing() {
    let host = Host::new();
    let first = host.open().await;
    let before = host.footprint(&first);
    let (_approver, creating) = unapproved(&first, 1);
    until_recorded(&host, 1).await;
    first.abandon().await;
    creating.abort();
    let second = host.open().await;
    until("it is gone", || second.list().is_empty()).await;
    assert_eq!(host.footprint(&second), before);
    second.create(request(1)).await.unwrap();
}

#[tokio::test]
async fn a_crash_at_any_step_of_an_end_keeps_its_cause() {
    for point in Point::END {
        let host = Host::new();
        let first = host.open().await;
        let before = host.footprint(&first);
        first.create(request(1)).await.unwrap();
        host.script.stop(Some(point));
        let killing = tokio::spawn({
            let first = first.clone();
            async move { first.kill(&sandbox_id(1), KilledBy::Client).await }
        });
        host.script.stopped.notified().await;
        first.abandon().await;
        killing.abort();
        host.script.stop(None);

        let second = host.open().await;
        until("it is gone", || second.list().is_empty()).await;
        assert_eq!(host.footprint(&second), before, "{point:?}");
        let ended = second.ended(&sandbox_id(1)).unwrap();
        assert_eq!(ended.cause, EndCause::Killed(KilledBy::Client), "{point:?}");
        assert!(ended.started_at.is_some());
    }
}

#[tokio::test]
async fn running_sandboxes_survive_a_restart_and_dead_ones_are_lost() {
    let host = Host::new();
    let first = host.open().await;
    for n in 1..=3 {
        first.create(request(n)).await.unwrap();
    }
    let deadline = first.get(&sandbox_id(1)).unwrap().deadline + Duration::from_secs(7);
    first.set_deadline(&sandbox_id(1), deadline).await.unwrap();
    let past = first.get(&sandbox_id(3)).unwrap().started_at;
    first.shutdown(Sandboxes::Leave).await;
    host.world.running(&sandbox_id(2)).unwrap().end(runtime::Exit::Ended);
    // The time of the third ran out while no server was there.
    let record = host.sandbox_dir(&sandbox_id(3)).join("sandbox.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    json["deadline"] = past.unix_micros().into();
    std::fs::write(&record, json.to_string()).unwrap();

    let second = host.open().await;
    let adopted = second.get(&sandbox_id(1)).unwrap();
    assert_eq!((adopted.phase, adopted.deadline), (Phase::Running, deadline));
    until("the others are gone", || second.list().len() == 1).await;
    assert_eq!(second.ended(&sandbox_id(2)).unwrap().cause, EndCause::HostLost);
    assert_eq!(second.ended(&sandbox_id(3)).unwrap().cause, EndCause::Timeout);
    assert_eq!(second.promised().slots, 1);
    second.shutdown(Sandboxes::Kill).await;
    assert_eq!(host.world.inventory(), Inventory::default());
}

/// After a loss of power the files of what ran last may be empty, or another's before it.
#[tokio::test]
async fn a_host_that_lost_its_power_leaves_no_sandbox_behind() {
    let host = Host::new();
    let handle = host.open().await;
    handle.create(request(7)).await.unwrap();
    let of_another = std::fs::read(host.sandbox_dir(&sandbox_id(7)).join("sandbox.json")).unwrap();
    handle.abandon().await;
    let torn: [(u32, &[u8]); 4] = [(1, b""), (2, b"null   "), (3, &of_another), (4, &[0; 4096])];
    for (n, bytes) in torn {
        let dir = host.sandbox_dir(&sandbox_id(n));
        std::fs::create_dir_all(dir.join("machine")).unwrap();
        std::fs::write(dir.join("sandbox.json"), bytes).unwrap();
    }
    std::fs::create_dir_all(host.sandbox_dir(&sandbox_id(5)).join("machine")).unwrap();
    // What cannot have come of it stays where it is, whatever the host went through.
    let damaged = host.sandbox_dir(&sandbox_id(6));
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("sandbox.json"), "{").unwrap();
    let (handle, refused) = host.open_with(host.options()).await;
    assert_eq!(refused.len(), 6, "nothing says that the host was started anew");
    handle.abandon().await;

    std::fs::write(host.options().state_dir.join("boot"), "an earlier start").unwrap();
    let (handle, refused) = host.open_with(host.options()).await;
    assert_eq!(refused.iter().map(|r| &r.dir).collect::<Vec<_>>(), [&damaged]);
    for n in 1..=5 {
        // Its record is there first, then its directory goes, then its place.
        until("it is gone", || handle.get(&sandbox_id(n)).is_none()).await;
        assert_eq!(handle.ended(&sandbox_id(n)).unwrap().cause, EndCause::HostLost, "{n}");
        assert!(!host.sandbox_dir(&sandbox_id(n)).exists(), "{n}");
        handle.create(request(n)).await.unwrap();
        handle.kill(&sandbox_id(n), KilledBy::Client).await.unwrap();
    }
    assert!(damaged.exists());
}

#[tokio::test]
async fn an_unusable_record_is_refused_alone_and_keeps_its_slot() {
    let host = Host::new();
    let dir = host.sandbox_dir(&sandbox_id(8));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("sandbox.json"), r#"{"format": 99, "slot": 0}"#).unwrap();
    let damaged = host.sandbox_dir(&sandbox_id(9));
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("sandbox.json"), "{").unwrap();
    let (handle, refused) = host.open_with(host.options()).await;
    let reasons: Vec<bool> =
        refused.iter().map(|r| matches!(r.reason, Unusable::Newer { found: 99 })).collect();
    assert_eq!(reasons, [true, false]);
    assert!(dir.exists() && damaged.exists());
    handle.create(request(1)).await.unwrap();
    let taken = host.world.inventory().reserved;
    assert_eq!(taken.iter().map(|slot| slot.0).collect::<Vec<_>>(), [1]);
    assert!(matches!(handle.create(request(8)).await, Err(Error::Exists(_))));
    assert!(dir.join("sandbox.json").exists(), "a refused record is never removed by another's start");
}

//! A start that fails, is killed or loses its server at any step, and an end
//! that fails at any: on real machines of namespaces with the real daemon.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod host;

use std::time::Duration;

use host::{Host, request, sandbox_id};
use model::{EndCause, KilledBy};
use node::{Error, Handle, Phase, Point, Sandboxes};
use testkit::Ground;

/// Starts one that stops dead at the point; the caller ends the wait.
async fn stuck(host: &Host, node: &Handle, point: Point) -> tokio::task::JoinHandle<()> {
    host.script.stop(Some(point));
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
    host.script.stop(None);
    creating
}

async fn failing(host: &Host) {
    let node = host.open().await;
    node.create(request(1)).await.unwrap();
    let before = host.footprint();
    for point in Point::START {
        for round in 0..2 {
            host.script.fail(point, 1);
            let failed = node.create(request(2)).await.unwrap_err();
            assert!(matches!(failed, Error::Start { .. }), "{point:?} {failed:?}");
            assert!(host.script.is_spent(), "{point:?}");
            host.settled(&before, &format!("{point:?} failed, round {round}")).await;
            assert_eq!(node.ended(&sandbox_id(2)).unwrap().cause, EndCause::StartFailed);
        }
    }
    for point in Point::END {
        node.create(request(2)).await.unwrap();
        host.script.fail(point, 1);
        node.kill(&sandbox_id(2), KilledBy::Client).await.unwrap();
        host.settled(&before, &format!("{point:?} failed")).await;
        assert!(host.script.is_spent(), "{point:?}");
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

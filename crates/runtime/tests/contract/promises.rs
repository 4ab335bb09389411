//! The promises of [`Backend`] and [`Machine`], whatever stands behind them.

use std::time::Duration;

use model::ByteSize;
use warren_runtime::{BoxFuture, DialError, Error, Exit};

use crate::{Host, PATIENCE, SILENT_PORT, echo, end, settled, spec, start, undo};

/// Runs all of them on an empty host.
pub(crate) async fn hold(host: &dyn Host) {
    assert_eq!(host.census(), Vec::<String>::new(), "the host is empty before");
    a_machine_answers_and_ends(host).await;
    every_undo_is_safe_at_every_step_and_twice(host).await;
    a_step_that_nobody_waits_for_is_undone(host).await;
    a_second_backend_adopts(host).await;
    machines_stand_side_by_side(host).await;
}

async fn a_machine_answers_and_ends(host: &dyn Host) {
    let backend = host.backend();
    let spec = spec(host, 1);
    assert!(backend.adopt(&spec).await.unwrap().is_none(), "nothing runs before its boot");
    let machine = start(&*backend, &spec).await;
    let dial = machine.dialer();
    echo(&*dial).await;
    let refused = dial.dial(SILENT_PORT).await.unwrap_err();
    assert!(matches!(refused, DialError::Refused(SILENT_PORT)), "{refused:?}");
    machine.settle().await.unwrap();
    echo(&*dial).await;

    let usage = machine.usage().await.unwrap();
    assert!(usage.memory > ByteSize::bytes(0) && usage.memory_peak >= usage.memory, "{usage:?}");
    assert!(usage.memory < spec.resources.memory && usage.oom_kills == 0, "{usage:?}");
    let early = tokio::time::timeout(Duration::from_millis(20), machine.exited()).await;
    assert!(early.is_err(), "it has not ended");

    machine.kill().await.unwrap();
    machine.kill().await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, machine.exited()).await.unwrap(), Exit::Ended);
    assert_eq!(machine.exited().await, Exit::Ended, "a level, not an edge");
    let gone = dial.dial(SILENT_PORT).await.unwrap_err();
    assert!(matches!(gone, DialError::Gone), "{gone:?}");
    assert!(backend.adopt(&spec).await.unwrap().is_none(), "nothing runs after its end");
    end(host, &*backend, &spec, machine).await;
}

async fn every_undo_is_safe_at_every_step_and_twice(host: &dyn Host) {
    let backend = host.backend();
    for steps in 0..=3 {
        let spec = spec(host, 2);
        for _ in 0..2 {
            if steps > 0 {
                backend.reserve(&spec).await.unwrap();
            }
            if steps > 1 {
                backend.prepare(&spec).await.unwrap();
            }
            if steps > 2 {
                backend.boot(&spec).await.unwrap().kill().await.unwrap();
            }
            undo(&*backend, &spec).await;
            undo(&*backend, &spec).await;
            settled(host, &[]).await;
        }
    }
}

/// As a kill lets go of the step that is under way.
async fn a_step_that_nobody_waits_for_is_undone(host: &dyn Host) {
    let backend = host.backend();
    let spec = spec(host, 2);
    for _ in 0..20 {
        let begun = async |step: BoxFuture<'_, Result<(), Error>>| {
            tokio::select! {
                biased;
                _ = step => {}
                () = std::future::ready(()) => {}
            }
        };
        begun(backend.reserve(&spec)).await;
        undo(&*backend, &spec).await;
        assert_eq!(host.census(), Vec::<String>::new());
        backend.reserve(&spec).await.unwrap();
        begun(backend.prepare(&spec)).await;
        undo(&*backend, &spec).await;
        assert_eq!(host.census(), Vec::<String>::new());
    }
}

/// As after the death of a server, which keeps no handle and knows only the spec.
async fn a_second_backend_adopts(host: &dyn Host) {
    let spec = spec(host, 3);
    let first = host.backend();
    let machine = start(&*first, &spec).await;
    echo(&*machine.dialer()).await;
    machine.settle().await.unwrap();
    drop((machine, first));

    let second = host.backend();
    let adopted = second.adopt(&spec).await.unwrap().expect("it still runs");
    echo(&*adopted.dialer()).await;
    adopted.settle().await.unwrap();
    adopted.kill().await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, adopted.exited()).await.unwrap(), Exit::Ended);
    end(host, &*second, &spec, adopted).await;
}

async fn machines_stand_side_by_side(host: &dyn Host) {
    let backend = host.backend();
    let (a, b) = (spec(host, 4), spec(host, 5));
    let first = start(&*backend, &a).await;
    let only_first = host.census();
    echo(&*first.dialer()).await;
    let second = start(&*backend, &b).await;
    echo(&*second.dialer()).await;
    second.kill().await.unwrap();
    drop(second);
    undo(&*backend, &b).await;
    settled(host, &only_first).await;
    echo(&*first.dialer()).await;
    end(host, &*backend, &a, first).await;
}

//! The service: order, limits, timeouts, stopping.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use warren_sdk::{ErrorKind, LongRunningService, ServiceOptions};

use super::faults::world;
use super::*;

async fn any_sandbox() -> (Mock, Sandbox) {
    let (_, mock) = world().await;
    let sandbox = Sandbox::create(&mock.config).await.unwrap();
    (mock, sandbox)
}

#[tokio::test]
async fn stopping_ends_what_was_queued_in_order_and_delivers() {
    let (_mock, sandbox) = any_sandbox().await;
    let service =
        LongRunningService::start(&sandbox, ServiceOptions { queue: 8, ..ServiceOptions::default() });
    let order = Arc::<Mutex<Vec<usize>>>::default();
    let mut tickets = Vec::new();
    for number in 0..5 {
        let order = Arc::clone(&order);
        let work = move |sandbox: Sandbox| async move {
            order.lock().unwrap().push(number);
            Ok(sandbox.commands().run("x").await?.stdout)
        };
        tickets.push(service.submit(work).await.unwrap());
    }
    service.stop().await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    for ticket in tickets {
        assert_eq!(ticket.await.unwrap(), "hi");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_a_slow_task_ends_and_workers_are_bounded() {
    let (_mock, sandbox) = any_sandbox().await;
    let options = ServiceOptions { queue: 1, workers: 2, task_timeout: Duration::from_millis(300) };
    let service = LongRunningService::start(&sandbox, options);
    let (running, gate) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
    let task = || {
        let (running, gate) = (Arc::clone(&running), Arc::clone(&gate));
        move |_| async move {
            running.fetch_add(1, Ordering::Relaxed);
            let _permit = gate.acquire().await;
            Ok(())
        }
    };
    let (first, second) = (service.submit(task()).await.unwrap(), service.submit(task()).await.unwrap());
    super::faults::until("both workers are busy", || running.load(Ordering::Relaxed) == 2).await;
    let waiting = service.try_submit(task()).unwrap();
    assert_eq!(service.try_submit(task()).unwrap_err().kind(), ErrorKind::RateLimit);
    // Nobody opens the gate: each ends by its time, and the one that waits gets its turn.
    for ticket in [first, second, waiting] {
        assert_eq!(ticket.await.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(running.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn dropping_a_service_fails_its_tickets() {
    let (_mock, sandbox) = any_sandbox().await;
    let service = LongRunningService::<()>::start(&sandbox, ServiceOptions::default());
    let ticket = service.submit(|_| std::future::pending()).await.unwrap();
    drop(service);
    assert_eq!(ticket.await.unwrap_err().kind(), ErrorKind::Closed);
}

//! The pool: bounds, order, replacement, and that nothing is left.

use std::sync::atomic::Ordering;
use std::time::Duration;

use warren_sdk::{ErrorKind, PoolOptions, SandboxPool};

use super::faults::{quick, until, world};

fn options(min: usize, max: usize) -> PoolOptions {
    PoolOptions { min, max, retry: quick(), ..PoolOptions::default() }
}

#[tokio::test]
async fn sandboxes_wait_ready_are_lent_once_and_replaced() {
    let (world, mock) = world().await;
    let pool = SandboxPool::start(&mock.config, options(2, 3)).unwrap();
    pool.ready().await;
    assert_eq!((pool.idle(), pool.size()), (2, 2));
    let lent = pool.acquire().await.unwrap();
    let id = lent.id().to_owned();
    until("another is warmed", || pool.idle() == 2).await;
    drop(lent);
    until("the used one is killed", || !world.alive.lock().unwrap().contains(&id)).await;
    until("as many as before", || pool.size() == 2).await;
    pool.close().await;
    until("none is left", || world.alive() == 0).await;
}

#[tokio::test]
async fn a_reusable_sandbox_comes_back_and_a_discarded_one_does_not() {
    let (world, mock) = world().await;
    let pool = SandboxPool::start(&mock.config, PoolOptions { reuse: true, ..options(1, 1) }).unwrap();
    pool.ready().await;
    let first = pool.acquire().await.unwrap().id().to_owned();
    let again = pool.acquire().await.unwrap();
    assert_eq!(again.id(), first);
    again.discard();
    assert_ne!(pool.acquire().await.unwrap().id(), first);
    drop(pool);
    until("none is left", || world.alive() == 0).await;
}

#[tokio::test]
async fn those_who_wait_are_served_in_order_and_never_more_than_max() {
    let (world, mock) = world().await;
    let pool = SandboxPool::start(&mock.config, PoolOptions { reuse: true, ..options(0, 1) }).unwrap();
    let held = pool.acquire().await.unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    let wait = async |number: u32| {
        let lent = pool.acquire().await.unwrap();
        order.lock().unwrap().push(number);
        tokio::task::yield_now().await;
        drop(lent);
    };
    // Polled in this order, so they queue in this order; the second gives up.
    let impatient = async {
        let _ = tokio::time::timeout(Duration::from_millis(20), wait(2)).await;
        drop(held);
    };
    tokio::join!(biased; wait(1), impatient, wait(3), wait(4));
    assert_eq!(*order.lock().unwrap(), [1, 3, 4]);
    assert_eq!((world.made.load(Ordering::Relaxed), pool.size()), (1, 1));
    pool.close().await;
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn a_sandbox_that_dies_while_idle_is_never_lent() {
    let (world, mock) = world().await;
    let check_every = Duration::from_millis(20);
    let pool = SandboxPool::start(&mock.config, PoolOptions { check_every, ..options(2, 4) }).unwrap();
    pool.ready().await;
    world.alive.lock().unwrap().clear();
    until("both are replaced", || world.alive() == 2 && pool.idle() == 2).await;
    assert!(pool.acquire().await.unwrap().is_running().await.unwrap());
    pool.close().await;
    until("none is left", || world.alive() == 0).await;
}

#[tokio::test]
async fn a_pool_lives_through_creates_that_fail() {
    let (world, mock) = world().await;
    world.failing.store(6, Ordering::Relaxed);
    let pool = SandboxPool::start(&mock.config, options(1, 1)).unwrap();
    pool.ready().await;
    assert!(pool.acquire().await.is_ok());
    pool.close().await;
    until("none is left", || world.alive() == 0).await;
}

#[tokio::test]
async fn bounds_are_checked_and_waiting_ends() {
    let (_world, mock) = world().await;
    for (min, max) in [(0, 0), (2, 1)] {
        let refused = SandboxPool::start(&mock.config, options(min, max)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
    let acquire_timeout = Duration::from_millis(20);
    let pool = SandboxPool::start(&mock.config, PoolOptions { acquire_timeout, ..options(0, 1) }).unwrap();
    let _held = pool.acquire().await.unwrap();
    assert_eq!(pool.acquire().await.unwrap_err().kind(), ErrorKind::Timeout);
}

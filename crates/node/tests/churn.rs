//! Many sandboxes at once, killed and given up at arbitrary moments.

mod support;

use std::time::Duration;

use model::admission::Capacity;
use model::{ByteSize, KilledBy};
use node::{Error, Handle};
use support::{Host, request, sandbox_id, until};
use warren_node as node;

/// A small generator with a fixed seed: the same moments in every run.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

async fn come_and_go(handle: Handle, n: u32, killed_after: Duration, given_up_after: Duration) -> bool {
    let id = sandbox_id(n);
    let creating = tokio::time::timeout(given_up_after, handle.create(request(n)));
    let killing = async {
        tokio::time::sleep(killed_after).await;
        handle.kill(&id, KilledBy::Client).await
    };
    let (created, killed) = tokio::join!(creating, killing);
    match killed {
        Ok(ended) => assert_eq!(ended.sandbox_id, id),
        Err(Error::NotFound(_)) => {}
        Err(other) => panic!("{other:?}"),
    }
    if handle.get(&id).is_some() {
        // Made after the kill looked for it, or given up and on its way out.
        let _ = handle.kill(&id, KilledBy::Client).await;
    }
    matches!(created, Ok(Ok(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_and_goes_leaves_nothing() {
    let host = Host::new();
    let mut options = host.options();
    options.capacity = Capacity { memory: ByteSize::gib(64), disk: ByteSize::gib(256), slots: 100 };
    let (handle, _) = host.open_with(options).await;
    let before = host.footprint(&handle);
    let mut moments = Moments(7);
    let mut usable = 0;
    for round in 0..5 {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..80 {
            let killed = Duration::from_micros(moments.next(400_000));
            let given_up = Duration::from_micros(500 + moments.next(800_000));
            tasks.spawn(come_and_go(handle.clone(), round * 1000 + n, killed, given_up));
        }
        usable += tasks.join_all().await.into_iter().filter(|usable| *usable).count();
        until("all are gone", || handle.list().is_empty() && handle.promised().slots == 0).await;
    }
    assert!((1..400).contains(&usable), "some were usable, some were not: {usable}");
    assert_eq!(host.footprint(&handle), before);
}

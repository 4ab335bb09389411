//! Sandboxes with something in their memory, and the states that are kept of them.

use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use testkit::Ground;

use super::{Host, sandbox_id};

pub(crate) const LIFE: Duration = Duration::from_mins(5);

/// Holds 16 MiB of random numbers that are nowhere but in its memory, and writes all but
/// the first line as soon as something is in `/box`. That is a directory which it made
/// itself: what is written below an overlay's others from outside may never show.
const HOLDER: &str = "mkdir /box; dd if=/dev/urandom bs=16M count=1 iflag=fullblock | \
    { read -r line; touch /filled; while [ -z \"$(ls /box)\" ]; do sleep 0.05; done; cat > /out.new; touch /out; }";
pub(crate) const HELD: u64 = 16 << 20;

/// A host whose backend keeps memory; announced where it does not.
fn host(ground: Arc<Ground>) -> Option<Host> {
    if let Err(reason) = ground.backend().unwrap().memory_checkpoints() {
        testkit::skip(&format!("checkpoints with memory: {reason}"));
        return None;
    }
    let start = serde_json::json!({ "command": HOLDER, "ready": "cat /filled" });
    Some(Host::with_start(ground, &start))
}

/// A test on such a host.
pub(crate) fn on_host(
    test: impl AsyncFnOnce(&Host) + Send + 'static,
) -> impl FnOnce(Arc<Ground>) -> Pin<Box<dyn Future<Output = ()>>> + Send + 'static {
    move |ground| {
        Box::pin(async move {
            if let Some(host) = host(ground) {
                test(&host).await;
            }
        })
    }
}

pub(crate) fn generations(host: &Host) -> PathBuf {
    host.ground.bulk_dir().join("generations")
}

/// The files that the sandbox has written.
pub(crate) fn upper(host: &Host, n: u32) -> PathBuf {
    let dir = host.ground.bulk_dir().join("sandboxes").join(sandbox_id(n).as_str());
    runtime::storage::WritableLayer::of(&dir.join("machine")).upper
}

/// An error with all its causes.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Waits until there are so many generations, whole or not.
pub(crate) async fn until_generations(host: &Host, n: usize) {
    for _ in 0..3000 {
        if fs::read_dir(generations(host)).unwrap().count() == n {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {n} generations: {:?}", fs::read_dir(generations(host)).unwrap().collect::<Vec<_>>());
}

/// What its holder held.
pub(crate) async fn held(host: &Host, n: u32) -> Vec<u8> {
    fs::write(upper(host, n).join("box/go"), "").unwrap();
    for _ in 0..3000 {
        if upper(host, n).join("out").exists() {
            return fs::read(upper(host, n).join("out.new")).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never writes what it held");
}

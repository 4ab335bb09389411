//! Gives memory back to the host that a burst of work has left behind, and
//! knows when there was too little of it.
//!
//! The allocator keeps what was freed for the next burst, which may never come;
//! on a host with hundreds of sandboxes that is memory of others.

use std::io;
use std::time::Duration;

use tokio::sync::Notify;

/// After work ended, this long for more of it to end. Also the shortest time
/// between two rounds, each of which takes up to some milliseconds.
const PAUSE: Duration = Duration::from_secs(2);

/// One for all daemons of a program, as the allocator is.
static ENDED: Notify = Notify::const_new();

/// To be called when a connection or a process ended.
pub(crate) fn work_ended() {
    ENDED.notify_one();
}

/// Gives memory back each time that work has ended, until the daemon ends.
pub(crate) async fn keep_small() -> io::Result<()> {
    loop {
        ENDED.notified().await;
        tokio::time::sleep(PAUSE).await;
        sys::memory::trim();
    }
}

/// How often the kernel has killed for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kills {
    /// In this sandbox.
    Here(u64),
    /// On the whole host, where the sandbox's own count cannot be read: a bound.
    OnTheHost(u64),
}

impl Kills {
    /// The number, whosever it is.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Here(number) | Self::OnTheHost(number) => number,
        }
    }
}

/// The count as it is now.
pub(crate) fn kills() -> Option<Kills> {
    let here = count("/sys/fs/cgroup/memory.events").map(Kills::Here);
    here.or_else(|| count("/proc/vmstat").map(Kills::OnTheHost))
}

fn count(path: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

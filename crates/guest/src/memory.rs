//! Gives memory back to the host that a burst of work has left behind.
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

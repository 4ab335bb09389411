//! Watching directories: one inotify instance of the kernel for all watchers,
//! because instances are scarce (128 for all sandboxes of a host together).
//!
//! ```text
//! kernel ──records──▶ Hub ──events──▶ watcher's queue ──▶ stream or poll
//!                      │ keeps for each watched directory who watches it and
//!                      └ what they call it; adds and moves subdirectories
//! ```

mod hub;
mod tree;
mod watcher;

pub(crate) use hub::{Hub, WatchError};
pub(crate) use watcher::Watcher;

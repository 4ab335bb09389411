//! Sessions of web applications: each has at most one sandbox, made on its first
//! call and ended when nothing is heard of it.
//!
//! ```text
//! (none) ── start, or a first execute ──▶ starting ──▶ running ── stop, idle, too old ──▶ (none)
//! ```
//!
//! The row that leads from a session to its sandbox is written before the
//! sandbox is made, and both ends of the way are looked at on each call: a row
//! whose sandbox is gone counts as none. What ends a forgotten sandbox is its own
//! deadline, which each call moves; so limits hold over a restart, too.

mod artifact;
mod error;
mod execute;
mod files;
mod install;
mod life;
mod package;
mod repr;
mod slot;

pub(crate) use error::Error;
pub(crate) use execute::Executed;
pub(crate) use files::target;
pub(crate) use life::Shown;
pub(super) use slot::Slots;

//! Starting users' processes through a small helper process.
//!
//! The daemon does not fork users' processes itself: the host moves the daemon
//! into a cgroup with a memory reserve, and what it forked would be in there too.
//! The helper stays where users' processes belong. It forks *siblings* of itself,
//! so the daemon is the parent of everything and reaps it; if a user kills the
//! helper, the next start makes a new one and no process is lost.
//!
//! `Launcher` is the daemon's side, `helper` the other one, `request` what they say.

mod helper;
mod launcher;
mod request;

pub use helper::{HELPER_ARG, serve};
pub(crate) use launcher::{LaunchError, Launcher};
pub(crate) use request::{Request, Session};

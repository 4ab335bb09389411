//! Everything that runs inside a sandbox: the daemon and the code interpreter.
//!
//! The daemon is the first process of every sandbox. It answers E2B's protocol
//! on port 49983, starts and watches users' processes, gives access to files,
//! and takes the host's orders on a socket that only the host can use. One
//! thread does all of it; only file transfers and long walks get threads.

mod bounds;
mod ca;
mod control;
mod daemon;
mod exec;
mod files;
mod fs;
mod http;
mod init;
mod interpret;
pub mod interpreter;
mod journal;
mod kernels;
mod memory;
mod metrics;
mod oom;
mod process;
mod procfiles;
mod route;
mod rpc;
mod settings;
mod trial;
mod user;
mod watch;

pub use bounds::Bounds;
pub use daemon::{Options, run, run_async};
pub use exec::{HELPER_ARG, serve as serve_exec_helper};

//! The code interpreter: E2B's protocol of port 49999 in front of Jupyter kernels.
//!
//! ```text
//! client ──HTTP──▶ routes ──▶ execute ──▶ run (holds the context's turn)
//!    ▲                                     │ request          ▲ messages
//!    └── NDJSON ◀── lines ◀── display ◀────┘     kernel ◀── pump (per socket)
//! ```
//!
//! No Jupyter server and no `ZeroMQ` library stand in between: a kernel is reached
//! over Unix sockets, and the part of `ZMTP` that a client needs is [`zmtp`]. It
//! bounds each message before memory is taken for it, which matters in a process
//! that must outlive any kernel.

mod brood;
mod config;
mod context;
mod contexts;
mod crowd;
mod display;
mod execute;
mod follow;
mod http;
mod kernel;
mod language;
mod lines;
mod link;
mod message;
mod nursery;
mod parent;
mod place;
mod plain;
mod programs;
mod pump;
mod rest;
mod run;
mod silent;
mod spawn;
mod tokio_spawner;
mod validate;
mod zmtp;

pub use config::InterpreterConfig;
pub use http::serve;
pub use rest::Rest;
pub use spawn::{BoxFuture, KernelCommand, KernelProcess, KernelSignal, KernelSpawner};
pub use tokio_spawner::TokioSpawner;

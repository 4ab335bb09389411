//! Turns a prepared root and limits into an isolated machine.
//!
//! The boundary is [`Backend`]: three reversible steps (reserve, prepare, boot),
//! checkpoints, and adoption after a restart. Every backend passes the same
//! contract suite (`tests/contract`); callers cannot tell them apart but by
//! what [`Backend::isolation`] answers. This crate knows no templates, no users
//! and, but for the simulation, which plays a guest, no HTTP of the guest: its
//! input is a [`MachineSpec`].

mod backend;
mod checkpoint;
pub mod manifest;
pub mod namespaces;
pub mod network;
pub mod sim;
pub mod storage;
mod trees;
pub mod trial;

pub use backend::{
    Backend, BoxFuture, Connection, Dial, DialError, Error, ErrorKind, Exit, Machine, MachineSpec, Usage,
};
pub use checkpoint::{CheckpointTo, Checkpointed, FILES, Standing, Then};
pub use trees::Trees;

//! The commands beside the server. Those about sandboxes go through the client library.

mod advice;
pub(crate) mod auth;
mod copy;
pub(crate) mod doctor;
mod form;
pub(crate) mod key;
mod operator;
mod pieces;
pub(crate) mod sandbox;
mod server;
pub(crate) mod service;
pub(crate) mod shell;
mod table;
pub(crate) mod team;
pub(crate) mod template;

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

pub(crate) use advice::next_step;

/// Runs a user command to its end on a small runtime.
pub(crate) fn run(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(command)
}

//! The Rust client library: sandboxes for AI-generated code, on Warren or on E2B's cloud.
//!
//! ```no_run
//! # async fn example() -> Result<(), warren_sdk::Error> {
//! use warren_sdk::{Config, Sandbox};
//!
//! let sandbox = Sandbox::create(&Config::from_env()?).await?;
//! let output = sandbox.commands().run("echo hello").await?;
//! assert_eq!(output.stdout, "hello\n");
//! sandbox.kill().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Sandbox`] is a handle: dropping it never blocks and never kills; the
//! sandbox ends at its timeout or by [`Sandbox::kill`]. Every future may be
//! dropped at any await: a request that was already sent still takes effect.

mod admin;
mod api;
mod code;
mod commands;
mod config;
mod error;
mod files;
mod http;
mod options;
mod rpc;
mod sandbox;

pub use admin::Admin;
pub use code::{CodeBuilder, Execution, ExecutionError, OutputMessage, RunResult};
pub use commands::{CommandBuilder, CommandHandle, CommandOutput, Commands, RunningCommand};
pub use config::Config;
pub use error::{Error, ErrorKind};
pub use files::{Entry, EntryKind, Files};
pub use options::CreateOptions;
pub use sandbox::{Sandbox, SandboxInfo, SandboxState};

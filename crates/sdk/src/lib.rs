//! The Rust client library: sandboxes for AI-generated code, on Warren or on E2B's cloud.
//!
//! ```no_run
//! # async fn example() -> Result<(), warren_sdk::Error> {
//! use warren_sdk::{Config, Sandbox};
//!
//! let sandbox = Sandbox::create(&Config::from_env()?).await?.scoped();
//! let output = sandbox.commands().run("echo hello").await?;
//! assert_eq!(output.stdout, "hello\n");
//! sandbox.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Sandbox`] is a handle: dropping it never blocks and never kills; the
//! sandbox ends at its timeout or by [`Sandbox::kill`]. A [`ScopedSandbox`] ends
//! with its scope. Every future may be dropped at any await: a request that was
//! already sent still takes effect. Handles of streams ([`CommandHandle::next`],
//! [`Watch::next`], [`Paginator::next_items`]) lose nothing by that.
//!
//! Calls of the control plane are repeated as the server asks
//! ([`Config::retries`]); what goes to a sandbox is sent once.

mod admin;
mod api;
mod code;
mod commands;
mod config;
mod error;
mod files;
mod git;
mod http;
mod manager;
mod pages;
mod pty;
mod retry;
mod rpc;
mod run;
mod sandbox;
mod secret;
mod shell;
mod template;
mod templates;
mod volume;

pub use admin::Admin;
pub use code::{CodeBuilder, Context, Contexts, Execution, ExecutionError, OutputMessage, RunResult};
pub use commands::{CommandBuilder, CommandEvent, CommandHandle, CommandOutput, Commands, RunningCommand};
pub use config::Config;
pub use error::{Error, ErrorKind};
pub use files::{
    Entry, EntryKind, FileEvent, FileEventKind, Files, Watch, WatchBuilder, WriteOptions, Written,
};
pub use futures_util::Stream;
pub use git::{CloneOptions, FileStatus, Git, GitBranches, GitStatus, Login, ResetMode, Scope};
pub use manager::{
    Executed, Language, LongRunningService, ManagerBuilder, PoolOptions, PooledSandbox, Process,
    ProcessBuilder, ProcessExit, Repeat, ResourceMonitor, RetryPolicy, SandboxManager, SandboxPool,
    ServiceOptions, Signal, Ticket, run_all,
};
pub use pages::Paginator;
pub use pty::{Pty, PtyBuilder, PtySize};
pub use sandbox::{
    ALL_TRAFFIC, Change, ConnectOptions, CreateOptions, ListQuery, LogLine, Metrics, Network, OnTimeout,
    Sandbox, SandboxInfo, SandboxState, ScopedSandbox, SnapshotInfo, SnapshotMode, SnapshotQuery,
};
pub use secret::{Secret, SecretInfo};
pub use template::{
    BuildInfo, BuildOptions, BuildStatus, CopyOptions, LogEntry, LogLevel, Ready, Template, TemplateTag,
};
pub use templates::Templates;
pub use volume::{Ownership, Volume, VolumeEntry, VolumeEntryKind, VolumeInfo};
pub use wire::rest::{ChangeKind, ChangedFile, ChangedFileKind};

//! `warren sandbox connect`: a shell in a sandbox, in this terminal.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sdk::{CommandHandle, Config, Sandbox};

use super::super::server;
use super::exec::status;
use super::terminal::{self, End};

/// Options of `connect`.
#[derive(Debug, Args)]
pub(super) struct Connect {
    /// The sandbox; one that sleeps is woken.
    id: String,
    /// Run the shell as this user.
    #[arg(long, short)]
    user: Option<String>,
    /// Start in this directory.
    #[arg(long, short = 'w')]
    cwd: Option<String>,
    /// Attach again to a shell that was detached from.
    #[arg(long, value_name = "PID", conflicts_with_all = ["user", "cwd"])]
    pid: Option<u32>,
}

/// Runs the command; ends with the shell's exit status.
pub(super) async fn run(config: &Config, connect: Connect) -> Result<ExitCode> {
    if !terminal::is_one() {
        bail!("connect needs a terminal; in scripts use `warren sandbox exec {} -- COMMAND`", connect.id);
    }
    let sandbox = server::attach(config, &connect.id).await?;
    let handle = open(&sandbox, &connect).await?;
    let pid = handle.pid();
    eprintln!("Connected to {}. Ctrl-] detaches.", sandbox.id());
    match terminal::join(&sandbox, handle).await? {
        End::Exit(code, words) => Ok(status(code, words.as_deref())),
        End::Detached => {
            let id = sandbox.id();
            eprintln!("\nDetached; the shell runs on: warren sandbox connect {id} --pid {pid}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn open(sandbox: &Sandbox, connect: &Connect) -> Result<CommandHandle> {
    if let Some(pid) = connect.pid {
        let handle = sandbox.commands().connect(pid).await.context("attach to the shell")?;
        // The new size also makes full-screen programs draw themselves anew.
        sandbox.pty().resize(pid, terminal::size()).await.context("attach to the shell")?;
        return Ok(handle);
    }
    let mut shell = sandbox.pty().create(terminal::size()).timeout(None);
    if let Some(user) = &connect.user {
        shell = shell.user(user);
    }
    if let Some(cwd) = &connect.cwd {
        shell = shell.cwd(cwd);
    }
    shell.await.context("start a shell")
}

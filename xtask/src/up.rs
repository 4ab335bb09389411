//! `cargo xtask up`: from a fresh clone to a server in the foreground.

use std::os::unix::process::CommandExt as _;

use anyhow::Context as _;

use crate::{build, command, criu, packages};

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking.
    #[arg(long)]
    yes: bool,
    /// Handed to `warren up` as they are.
    #[arg(last = true)]
    warren: Vec<String>,
}

/// Becomes `warren up`; comes back only with an error.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::SERVER, args.yes)?;
    criu::ensure();
    let warren = build::warren()?;
    let mut up = as_root(&warren);
    up.arg("up").args(&args.warren);
    Err(up.exec()).with_context(|| format!("start {}", warren.display()))
}

/// The server makes namespaces, mounts and network interfaces.
fn as_root(program: &std::path::Path) -> std::process::Command {
    if rustix::process::geteuid().is_root() {
        return command::command(program);
    }
    command::say("The server needs root: starting it with sudo");
    let mut sudo = command::command("sudo");
    sudo.arg("--preserve-env=SSL_CERT_FILE,HTTP_PROXY,HTTPS_PROXY,NO_PROXY").arg(program);
    sudo
}

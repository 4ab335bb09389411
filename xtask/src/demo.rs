//! `cargo xtask demo`: `up`, then the two quick starts with the official SDKs in
//! environments made here, then stop.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::clients::{node::Modules, python::Venv};
use crate::command::{run as run_command, say};
use crate::server::{Options, Server};
use crate::{build, criu, packages, repo};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking.
    #[arg(long)]
    yes: bool,
}

/// Runs both quick starts; fails when one of them does.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::SERVER, args.yes)?;
    criu::ensure();
    packages::ensure(packages::CLIENTS, args.yes)?;
    let warren = build::warren()?;
    let venv = Venv::ensure("quickstart", crate::world::PYTHON_QUICKSTART)?;
    let modules = Modules::ensure("quickstart", crate::world::JS_QUICKSTART)?;
    let server =
        Server::start(&Options { warren: &warren, state: &repo::state(), debug_ports: false, domain: None })?;
    println!("    answering on {} after {:.1} s", server.address, server.started_in.as_secs_f64());

    let access = server.access();
    let charts = repo::target().join("demo");
    fs::create_dir_all(&charts).context("make the directory of the charts")?;
    say("examples/python/quickstart.py");
    let mut python = venv.python();
    python.arg("examples/python/quickstart.py").arg(charts.join("python.png"));
    run_command(access.lead(&mut python))?;
    say("examples/js/quickstart.mjs");
    let mut node = modules.script(Path::new("examples/js/quickstart.mjs"))?;
    node.arg(charts.join("js.png"));
    run_command(access.lead(&mut node))?;
    server.stop()?;
    say(&format!("Both ran. The charts: {0}/python.png and {0}/js.png", charts.display()));
    Ok(())
}

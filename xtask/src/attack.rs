//! `cargo xtask attack`: the isolation suite alone.

use crate::server::{Options, Server};
use crate::tally::Tally;
use crate::{build, packages, repo, world};

/// Arguments of `attack`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs hostile programs as root inside sandboxes; each must be refused or contained.
pub(crate) fn run(_: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::SERVER, true)?;
    packages::ensure(packages::CLIENTS, true)?;
    let warren = build::warren()?;
    let server =
        Server::start(&Options { warren: &warren, state: &repo::state(), debug_ports: false, domain: None })?;
    let mut tally = Tally::default();
    world::suites::python(&server.access(), &mut tally, &["tests/python/attack"]);
    tally.step("the server stops", || server.stop().map(|()| None));
    tally.close()
}

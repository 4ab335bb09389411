//! `cargo xtask desktop`: builds the template `desktop`, which takes minutes from
//! nothing and is not part of a first start, and runs the suites that need it.
//! Where it was built before, `cargo xtask test` runs them too.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::census::Census;
use crate::command::say;
use crate::server::{Options, Server};
use crate::tally::Tally;
use crate::world::suites;
use crate::{build, packages, repo};

/// Arguments of `desktop`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// From nothing on a slow network.
const BUILD: Duration = Duration::from_mins(40);

/// Where the server says how far it is.
const PLACE: &str = "/default-templates/desktop";

/// Builds it, runs the suites, looks around.
pub(crate) fn run(_: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::SERVER, true)?;
    packages::ensure(packages::CLIENTS, true)?;
    let warren = build::warren()?;
    let before = Census::take()?;
    let options = Options { warren: &warren, state: &repo::state(), debug_ports: false, domain: None };
    let server = Server::start(&options)?;
    let mut tally = Tally::default();
    tally.step("the template desktop is built on demand", || built(&server).map(|()| None));
    suites::python(&server.access(), &mut tally, &["tests/python/test_desktop.py"]);
    suites::desktop(&server.access(), &mut tally);
    tally.step("the server stops", || server.stop().map(|()| None));
    tally.step("nothing is left behind", || before.settle().map(|()| None));
    tally.close()
}

fn built(server: &Server) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut seen = ask(server, "POST")?;
    while matches!(seen.0.as_str(), "waiting" | "building") {
        anyhow::ensure!(start.elapsed() < BUILD, "it takes longer than {BUILD:?}: {}", seen.1);
        std::thread::sleep(Duration::from_millis(500));
        let now = ask(server, "GET")?;
        if now != seen {
            say(&now.1);
        }
        seen = now;
    }
    if seen.0 != "ready" {
        bail!("{}", seen.1);
    }
    Ok(())
}

/// Its status, and that in words.
fn ask(server: &Server, method: &str) -> anyhow::Result<(String, String)> {
    let key = [("X-API-Key", server.api_key.as_str())];
    let answer = server.connect()?.request(method, PLACE, &key, b"")?.json()?;
    let text =
        |name: &str| answer[name].as_str().map(str::to_owned).with_context(|| format!("read {answer}"));
    Ok((text("status")?, text("message")?))
}

//! Tests from outside: the official clients, and everything else that speaks
//! HTTP, against the real binary with the real isolation.

pub(crate) mod compatibility;
pub(crate) mod matrix;
pub(crate) mod suites;

use anyhow::Context as _;

use crate::census::Census;
use crate::server::{Options, Server};
use crate::tally::{Skip, Tally};
use crate::{build, repo, soak};

/// What the quick starts use: the newest of both.
pub(crate) const PYTHON_QUICKSTART: &[&str] = &["e2b==2.63.0", "e2b-code-interpreter==2.11.5"];
/// The same in JavaScript.
pub(crate) const JS_QUICKSTART: &[&str] = &["@e2b/code-interpreter@2.8.0"];

/// Starts a server, runs every suite against it, stops it, looks around.
pub(crate) fn run(tally: &mut Tally) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        tally.step("tests against a real server", || {
            Ok(Some(Skip("the server needs root: run `sudo -E cargo xtask test`".to_owned())))
        });
        return Ok(());
    }
    let warren = build::warren()?;
    let before = Census::take();
    let options = Options { warren: &warren, state: &repo::state(), default_ports: false };
    let server = Server::start(&options).context("start a server for the tests")?;
    println!("    answering on {} after {:.1} s", server.address, server.started_in.as_secs_f64());
    matrix::run(&server, tally);
    suites::python(&server, tally, &["tests/python"]);
    suites::javascript(&server, tally);
    tally.step("kill and clean-up rounds (short)", || soak::rounds(&server, soak::SHORT).map(|()| None));
    tally.step("the server stops", || server.stop().map(|()| None));
    second_start(&warren, tally);
    suites::debug_mode(&warren, tally);
    tally.step("nothing is left behind", || before.settle().map(|()| None));
    Ok(())
}

/// With its templates there, a server serves within two seconds.
fn second_start(warren: &std::path::Path, tally: &mut Tally) {
    tally.step("a second start serves within 2 s", || {
        let server = Server::start(&Options { warren, state: &repo::state(), default_ports: false })?;
        let took = server.started_in;
        server.stop()?;
        anyhow::ensure!(took.as_secs_f64() < 2.0, "it took {:.1} s", took.as_secs_f64());
        Ok(None)
    });
}

//! Tests from outside: the official clients, and everything else that speaks
//! HTTP, against the real binary with the real isolation.

pub(crate) mod compatibility;
mod domain;
pub(crate) mod matrix;
pub(crate) mod suites;

use std::net::TcpListener;
use std::path::Path;

use anyhow::Context as _;

use crate::census::Census;
use crate::server::{Access, Options, Server};
use crate::tally::{Skip, Tally};
use crate::{bench, build, repo, soak};

/// What the quick starts use: the newest of both.
pub(crate) const PYTHON_QUICKSTART: &[&str] = &["e2b==2.63.0", "e2b-code-interpreter==2.11.5"];
/// The same in JavaScript.
pub(crate) const JS_QUICKSTART: &[&str] = &["@e2b/code-interpreter@2.8.0"];

/// Where the SDKs look with `E2B_DEBUG=true`.
const DEBUG_PORTS: [u16; 2] = [49983, 49999];

/// Starts a server, runs every suite against it, stops it, looks around.
pub(crate) fn run(tally: &mut Tally) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        tally.step("tests against a real server", || {
            Ok(Some(Skip("the server needs root: run `sudo -E cargo xtask test`".to_owned())))
        });
        return Ok(());
    }
    let warren = build::warren()?;
    let before = Census::take()?;
    let options = Options { warren: &warren, state: &repo::state(), debug_ports: false, domain: None };
    let mut server = Server::start(&options).context("start a server for the tests")?;
    println!("    answering on {} after {:.1} s", server.address, server.started_in.as_secs_f64());
    clients(&server.access(), tally);
    suites::python(&server.access(), tally, &["tests/python/attack"]);
    let mut soak = |name: &str, part: &mut dyn FnMut(&mut Server) -> anyhow::Result<Option<Skip>>| {
        tally.step(name, || soak::cleanly(&mut server, part));
    };
    soak("kill and clean-up rounds (short)", &mut |server| soak::rounds(server, soak::SHORT).map(|()| None));
    soak("plots in many sandboxes at once (short)", &mut |server| {
        soak::plots::run(server, soak::plots::SHORT).map(|()| None)
    });
    soak("calls from sessions in parallel (short)", &mut |server| {
        soak::sessions::run(server, soak::sessions::SHORT, 1).map(|()| None)
    });
    soak("forks of one heap, each its own (short)", &mut |server| forks(server));
    soak("several clients at once at a few sandboxes (short)", &mut |server| races(server));
    soak("kill -9 of the server under load (short)", &mut |server| {
        soak::crash::run(server, soak::crash::SHORT).map(|()| None)
    });
    suites::restarts(&mut server, tally, suites::SHORT_HISTORIES);
    tally.step("kill -9 of the server while it builds a template (short)", || {
        soak::cleanly(&mut server, |server| soak::builds::run(server, soak::builds::SHORT)).map(|()| None)
    });
    tally.step("measurements (short, printed and not judged)", || bench::short(&server).map(|()| None));
    tally.step("the server stops", || server.stop().map(|()| None));
    second_start(&warren, tally);
    tally.step("nothing is left behind", || before.settle().map(|()| None));
    Ok(())
}

/// Where the server has no checkpoint tool no memory is kept.
fn no_memory() -> Option<Skip> {
    let is_there = crate::criu::usr().is_some() || Path::new("/usr/sbin/criu").exists();
    (!is_there).then(|| Skip("there is no checkpoint tool here".to_owned()))
}

fn races(server: &Server) -> anyhow::Result<Option<Skip>> {
    if let Some(skip) = no_memory() {
        return Ok(Some(skip));
    }
    soak::races::run(server, soak::races::SHORT).map(|()| None)
}

fn forks(server: &Server) -> anyhow::Result<Option<Skip>> {
    if let Some(skip) = no_memory() {
        return Ok(Some(skip));
    }
    let paid = soak::forks::run(server, soak::forks::SHORT)?;
    println!("    {paid}");
    Ok(None)
}

/// Everything that needs only a server's address and a key.
pub(crate) fn clients(server: &Access, tally: &mut Tally) {
    matrix::run(server, tally);
    suites::python(server, tally, &["tests/python", "--ignore=tests/python/attack"]);
    suites::javascript(server, tally);
    suites::cli(server, tally);
    suites::rust(server, tally);
}

/// Limits of sessions that a test can wait for.
const SHORT_LIMITS: &str = "[session]\nexecution_seconds = 3\nidle_seconds = 6\nlife_seconds = 20\nmax_upload_mib = 1\n\
     [api.rate_limits.\"GET /templates/aliases/{alias}\"]\nburst = 2\nperiod_s = 2.0\n";

/// With its templates there, a server serves within two seconds; this one has
/// the debug ports and a domain too, and short limits.
fn second_start(warren: &Path, tally: &mut Tally) {
    let taken = DEBUG_PORTS.iter().find(|port| TcpListener::bind(("127.0.0.1", **port)).is_err());
    let debug_ports = taken.is_none();
    let mut second = None;
    tally.step("a second start serves within 2 s", || {
        let domain = Some(domain::NAME);
        let options = Options { warren, state: &repo::state(), debug_ports, domain };
        let server = Server::start_set(&options, SHORT_LIMITS)?;
        let took = server.started_in;
        second = Some(server);
        anyhow::ensure!(took.as_secs_f64() < 2.0, "it took {:.1} s", took.as_secs_f64());
        Ok(None)
    });
    let Some(server) = second else { return };
    if let Some(port) = taken {
        let reason = format!("port {port} is taken by another program");
        tally.step("suite tests/debug", || Ok(Some(Skip(reason))));
    } else {
        suites::debug_mode(&server.access(), tally);
    }
    suites::python(&server.access(), tally, &["tests/limits"]);
    domain::run(&server, tally);
    tally.step("the second server stops", || server.stop().map(|()| None));
}

//! `cargo xtask soak`: creates and ends sandboxes in every way a client can, in
//! an order that a seed repeats, loads one of them with commands, watches and
//! files, looks at what is left behind, and lets the fuzzer loose on the readers.

pub(crate) mod builds;
pub(crate) mod crash;
pub(crate) mod forks;
mod fuzz;
pub(crate) mod plots;
pub(crate) mod races;
pub(crate) mod sessions;

use std::time::Duration;

use anyhow::Context as _;

use crate::census::Census;
use crate::command::say;
use crate::raw::Sandbox;
use crate::server::{Options, Server};
use crate::tally::Tally;
use crate::world::suites;
use crate::{build, criu, packages, repo};

/// Arguments of `soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many sandboxes.
    #[arg(long, default_value_t = 500)]
    rounds: u32,
    /// Repeats a run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many at a time.
    #[arg(long, default_value_t = 4)]
    workers: u32,
    /// Random histories of sandboxes whose server is killed.
    #[arg(long, default_value_t = 300)]
    histories: u32,
    /// Only this part.
    #[arg(long)]
    only: Option<Part>,
    /// How often the server is killed under load.
    #[arg(long, default_value_t = 200)]
    crashes: u32,
    /// Rounds in which several clients at once ask for all kinds of things.
    #[arg(long, default_value_t = 100)]
    races: u32,
    /// Forks of one sandbox at once,
    #[arg(long, default_value_t = 50)]
    forks: u32,
    /// whose heap has this size.
    #[arg(long, default_value_t = 200)]
    heap_mib: u32,
    /// Builds of templates, the server killed at a moment of each.
    #[arg(long, default_value_t = 50)]
    builds: u32,
    /// Sessions that call at a time, beside the rounds; each holds a Python.
    #[arg(long, default_value_t = 100)]
    sessions: u32,
    /// Calls of each session.
    #[arg(long, default_value_t = 20)]
    calls: u32,
    /// Sandboxes that each draw a plot at once; each holds a Python with matplotlib.
    #[arg(long, default_value_t = 100)]
    plots: u32,
    /// Seconds that each fuzz target runs; 0 leaves them out.
    #[arg(long, default_value_t = 600)]
    fuzz_seconds: u32,
}

/// A hundred interpreters are promised more memory than they use.
const PROMISES: &str = "memory_overcommit = 64.0\ndisk_overcommit = 200.0\n";

/// What one soak does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    rounds: u32,
    workers: u32,
    seed: u64,
}

/// The form that every test run includes.
pub(crate) const SHORT: Plan = Plan { rounds: 40, workers: 4, seed: 1 };

/// The parts of a soak, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A server on simulated machines: its API document, and a crowd of clients.
    Simulated,
    /// Sessions that call in parallel.
    Sessions,
    /// Sandboxes that each draw a plot at once.
    Plots,
    /// Creates and ends.
    Rounds,
    /// Many forks of one heap.
    Forks,
    /// Several clients at once at a few sandboxes.
    Races,
    /// kill -9 of the server.
    Crashes,
    /// Random histories against a model of files and variables.
    Histories,
    /// kill -9 of the server while it builds a template.
    Builds,
    /// One sandbox under load.
    Load,
    /// The fuzz targets, which need no server.
    Fuzz,
}

/// Runs the long form against a server of its own.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.only == Some(Part::Fuzz) {
        let mut tally = Tally::default();
        fuzz::run_all(args.fuzz_seconds, &mut tally);
        return tally.close();
    }
    packages::ensure(packages::SERVER, true)?;
    criu::ensure();
    let wants = |part| args.only.is_none_or(|only| only == part);
    if wants(Part::Simulated) {
        crate::simulated::soak(args.seed)?;
    }
    let warren = build::warren()?;
    let before = Census::take()?;
    let options = Options { warren: &warren, state: &repo::state(), debug_ports: false, domain: None };
    let mut server = Server::start_set(&options, PROMISES)?;
    let result = cleanly(&mut server, |server| real(server, args, wants));
    let mut tally = Tally::default();
    if wants(Part::Histories) {
        let plan = suites::Histories { count: args.histories, seed: args.seed };
        suites::restarts(&mut server, &mut tally, plan);
    }
    if wants(Part::Load) {
        suites::load(&server.access(), &mut tally);
    }
    if tally.has_failed() {
        clear(&mut server)?;
    }
    server.stop()?;
    if args.fuzz_seconds > 0 && args.only.is_none() {
        fuzz::run_all(args.fuzz_seconds, &mut tally);
    }
    result?;
    tally.close()?;
    before.settle()?;
    say("Nothing is left behind.");
    Ok(())
}

/// Runs a part. One that fails takes its sandboxes along: they would stand in the
/// memory of this host until their timeouts, and in the next server's list.
pub(crate) fn cleanly<T>(
    server: &mut Server,
    part: impl FnOnce(&mut Server) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let outcome = part(server);
    if outcome.is_err()
        && let Err(error) = clear(server)
    {
        say(&format!("Sandboxes are left: {error:#}"));
    }
    outcome
}

/// Ends every sandbox, also those that a call still makes whose client gave up.
fn clear(server: &mut Server) -> anyhow::Result<()> {
    server.revive()?;
    let mut quiet = 0;
    // A call under way makes the next one within some seconds.
    for _ in 0..60 {
        quiet = if listed(server)?.is_empty() { quiet + 1 } else { 0 };
        if quiet == 4 {
            return Ok(());
        }
        kill_all(server)?;
        std::thread::sleep(Duration::from_secs(3));
    }
    anyhow::bail!("sandboxes appear again and again")
}

fn real(server: &mut Server, args: &Args, wants: impl Fn(Part) -> bool) -> anyhow::Result<()> {
    if wants(Part::Sessions) {
        let plan = sessions::Plan { sessions: args.sessions, calls: args.calls };
        sessions::run(server, plan, args.seed)?;
        let calls = plan.sessions * plan.calls;
        say(&format!("{calls} calls from {} sessions: none saw another's.", plan.sessions));
    }
    if wants(Part::Plots) {
        plots::run(server, args.plots)?;
        say(&format!("{} sandboxes drew at once: each its own plot.", args.plots));
    }
    if wants(Part::Rounds) {
        rounds(server, Plan { rounds: args.rounds, workers: args.workers, seed: args.seed })?;
    }
    if wants(Part::Forks) {
        let plan = forks::Plan { forks: args.forks, heap_mib: args.heap_mib };
        say(&format!("{} forks of {} MiB: {}", plan.forks, plan.heap_mib, forks::run(server, plan)?));
    }
    if wants(Part::Races) {
        races::run(server, races::Plan { rounds: args.races, seed: args.seed })?;
    }
    if wants(Part::Crashes) {
        crash::run(server, crash::Plan { rounds: args.crashes, seed: args.seed })?;
    }
    if wants(Part::Builds) {
        builds::run(server, builds::Plan { rounds: args.builds, seed: args.seed })?;
    }
    Ok(())
}

/// Creates and ends sandboxes; the host and the server look as before.
pub(crate) fn rounds(server: &Server, plan: Plan) -> anyhow::Result<()> {
    // The first sandbox makes what the server keeps for good.
    Sandbox::create(server, "base", 60)?.kill()?;
    let (before, files, bytes) = (Census::take()?, descriptors(server)?, state_bytes());
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..plan.workers).map(|worker| scope.spawn(move || work(server, plan, worker))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    kill_all(server)?;
    before.settle()?;
    wait_for(|| {
        let now = descriptors(server)?;
        // A connection that the server keeps open for the next request is no leak.
        anyhow::ensure!(now <= files + 4, "{now} open files in the server, {files} before");
        Ok(())
    })?;
    wait_for(|| {
        let now = state_bytes();
        let allowed = bytes + u64::from(plan.rounds) * 64 * 1024 + 16 * 1024 * 1024;
        anyhow::ensure!(now <= allowed, "{now} bytes in the state directory, {bytes} before");
        Ok(())
    })
}

fn work(server: &Server, plan: Plan, worker: u32) -> anyhow::Result<()> {
    let mut random = Random(plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(worker + 1));
    for round in 0..plan.rounds / plan.workers {
        one(server, &mut random).with_context(|| format!("worker {worker}, round {round}"))?;
    }
    Ok(())
}

/// One life: killed at once, after a command, with a command running, by its
/// timeout, or forgotten by its client in the middle of the create.
fn one(server: &Server, random: &mut Random) -> anyhow::Result<()> {
    match random.below(5) {
        0 => Sandbox::create(server, "base", 60)?.kill(),
        1 => {
            let mut sandbox = Sandbox::create(server, "base", 60)?;
            let (code, output) = sandbox.run("echo $((6 * 7))", random.below(2) == 0)?;
            anyhow::ensure!(code == 0 && output == b"42\n", "exit {code}, {output:?}");
            sandbox.kill()
        }
        2 => {
            let mut sandbox = Sandbox::create(server, "base", 60)?;
            // A command ends when nobody holds its output any more: those that stay give it up.
            let stay = "(sleep 1000 >/dev/null 2>&1 &); setsid sleep 1000 >/dev/null 2>&1 &";
            sandbox.run(&format!("{stay} dd if=/dev/zero of=fill bs=1M count=20"), false)?;
            sandbox.kill()
        }
        3 => Sandbox::create(server, "base", 1).map(drop),
        _ => {
            let delay = Duration::from_millis(random.below(30));
            abandon(server, delay)
        }
    }
}

/// Sends a create and hangs up before the answer.
fn abandon(server: &Server, delay: Duration) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(&server.address).context("connect")?;
    let body = r#"{"templateID":"base","timeout":2}"#;
    write!(
        stream,
        "POST /v2/sandboxes HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address,
        server.api_key,
        body.len()
    )
    .context("send a create")?;
    std::thread::sleep(delay);
    Ok(())
}

/// Ends those whose client hung up or whose timeout is still running.
fn kill_all(server: &Server) -> anyhow::Result<()> {
    wait_for(|| {
        let mut connection = server.connect()?;
        let ids = listed(server)?;
        for id in &ids {
            let key = [("X-API-Key", server.api_key.as_str())];
            connection.request("DELETE", &format!("/sandboxes/{id}"), &key, b"")?;
        }
        anyhow::ensure!(ids.is_empty(), "{} sandboxes are still listed", ids.len());
        Ok(())
    })
}

/// The ids of the first hundred, paused ones too.
fn listed(server: &Server) -> anyhow::Result<Vec<String>> {
    let key = [("X-API-Key", server.api_key.as_str())];
    let list = server.connect()?.request("GET", "/v2/sandboxes?limit=100", &key, b"")?.json()?;
    let rows = list.as_array().into_iter().flatten();
    Ok(rows.filter_map(|row| row["sandboxID"].as_str().map(str::to_owned)).collect())
}

fn descriptors(server: &Server) -> anyhow::Result<usize> {
    let dir = format!("/proc/{}/fd", server.pid());
    Ok(std::fs::read_dir(dir).context("count the server's open files")?.count())
}

/// Bytes in use in the state directory. Of the state file system what is in use
/// inside counts, not its image: that gives removed blocks back to the host later.
fn state_bytes() -> u64 {
    fn below(dir: &std::path::Path) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                _ if entry.file_name() == "fs.btrfs" => 0,
                Ok(metadata) if metadata.is_dir() && is_mount(&entry.path()) => used(&entry.path()),
                Ok(metadata) if metadata.is_dir() => below(&entry.path()),
                Ok(metadata) => metadata.blocks() * 512,
                Err(_) => 0,
            })
            .sum()
    }
    below(&repo::state())
}

fn used(mount: &std::path::Path) -> u64 {
    rustix::fs::statvfs(mount).map_or(0, |stat| (stat.f_blocks - stat.f_bfree) * stat.f_frsize)
}

fn is_mount(path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &std::path::Path| path.metadata().ok().map(|metadata| metadata.dev());
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

/// Tries until it holds, for half a minute; then gives the last reason.
fn wait_for(condition: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    for _ in 0..150 {
        if condition().is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    condition()
}

/// Xorshift: a run is repeated by its seed.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

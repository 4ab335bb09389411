//! `cargo xtask bench`: the numbers of SPECIFICATION.md, each next to a floor
//! measured in the same run, and next to two other sandboxes.

mod floor;
mod measure;
mod others;

use anyhow::Context as _;

use crate::raw::Sandbox;
use crate::server::{Options, Server};
use crate::{build, packages, repo};
use measure::Series;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each thing is measured.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// A tenth of the rounds: for a quick look and for continuous integration.
    #[arg(long)]
    short: bool,
}

/// Size of the file that goes up and down.
const FILE: usize = 64 * 1024 * 1024;

/// Prints a table in Markdown.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::SERVER, true)?;
    packages::ensure(packages::BENCH, true)?;
    let rounds = if args.short { args.rounds.div_ceil(10) } else { args.rounds };
    let warren = build::warren()?;
    let server = Server::start(&Options { warren: &warren, state: &repo::state(), default_ports: false })?;
    // The first create of a template mounts what the later ones share.
    for template in ["base", "code-interpreter-v1"] {
        Sandbox::create(&server, template, 60)?.kill()?;
    }
    let mut rows = Vec::new();
    floor::measure(rounds, &mut rows)?;
    lives(&server, rounds, &mut rows)?;
    live_sandbox(&server, rounds, &mut rows)?;
    files(&server, rounds.min(10), &mut rows)?;
    interpreter(&server, rounds, &mut rows)?;
    idle_memory(&server, &mut rows)?;
    others::measure(rounds.min(30), &mut rows);
    server.stop()?;
    println!("\n| what | p50 | p99 | n |\n|---|---|---|---|");
    for row in rows {
        println!("{row}");
    }
    Ok(())
}

/// Create until usable, the first command, and the kill.
fn lives(server: &Server, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut create = Series::ms("create of `base` until usable");
    let mut first = Series::ms("first command in it (`bash -l -c true`)");
    let mut kill = Series::ms("kill");
    for _ in 0..rounds {
        let mut sandbox = create.time(|| Sandbox::create(server, "base", 60))?;
        first.time(|| sandbox.run("true", false))?;
        kill.time(|| sandbox.kill())?;
    }
    rows.extend([create, first, kill]);
    Ok(())
}

/// Round trips on a live sandbox.
fn live_sandbox(server: &Server, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(server, "base", 600)?;
    let mut direct = Series::ms("`/bin/true` on a live sandbox");
    let mut shell = Series::ms("`bash -l -c true` on a live sandbox");
    for _ in 0..rounds {
        anyhow::ensure!(direct.time(|| sandbox.exec("/bin/true"))? == 0, "true failed");
        shell.time(|| sandbox.run("true", false))?;
    }
    rows.extend([direct, shell]);
    sandbox.kill()
}

/// One large file, up and down.
fn files(server: &Server, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(server, "base", 600)?;
    let bytes: Vec<u8> = (0..FILE).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
    let mut up = Series::rate("64 MiB file up", FILE);
    let mut down = Series::rate("64 MiB file down", FILE);
    for _ in 0..rounds {
        up.time(|| sandbox.write("/home/user/large", &bytes))?;
        let back = down.time(|| sandbox.read("/home/user/large"))?;
        anyhow::ensure!(back == bytes, "the file came back changed");
    }
    rows.extend([up, down]);
    sandbox.kill()
}

/// A create with and without waiting for the kernel, and warm cells.
fn interpreter(server: &Server, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut create = Series::ms("create of `code-interpreter-v1` until usable");
    let mut kernel = Series::ms("the same, until its kernel is ready");
    let mut cell = Series::ms("warm cell `1+1`");
    for _ in 0..rounds.div_ceil(10) {
        let start = std::time::Instant::now();
        let mut sandbox = create.time(|| Sandbox::create(server, "code-interpreter-v1", 600))?;
        while !sandbox.interpreter_is_ready() {
            anyhow::ensure!(start.elapsed().as_secs() < 60, "the kernel does not get ready");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        kernel.push(start.elapsed());
        sandbox.cell("1+1")?;
        for _ in 0..10 {
            anyhow::ensure!(cell.time(|| sandbox.cell("1+1"))? == "2", "1+1 is not 2");
        }
        sandbox.kill()?;
    }
    rows.extend([create, kernel, cell]);
    Ok(())
}

/// What the host's free memory loses for each idle sandbox, averaged over many.
fn idle_memory(server: &Server, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    const COUNT: usize = 20;
    for template in ["base", "code-interpreter-v1"] {
        let mut series = Series::mib(format!("memory of an idle `{template}`, of {COUNT}"));
        let before = available()?;
        let sandboxes: Vec<Sandbox> =
            (0..COUNT).map(|_| Sandbox::create(server, template, 600)).collect::<Result<_, _>>()?;
        // Kernels start after the create has answered.
        std::thread::sleep(std::time::Duration::from_secs(5));
        series.push_bytes(before.saturating_sub(available()?) / COUNT as u64);
        sandboxes.into_iter().try_for_each(Sandbox::kill)?;
        rows.push(series);
    }
    Ok(())
}

/// Bytes that the host could still give out.
fn available() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("find MemAvailable")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("read MemAvailable")?;
    Ok(kib * 1024)
}

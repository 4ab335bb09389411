//! `cargo xtask bench`: the numbers of SPECIFICATION.md, each next to a floor
//! measured in the same run, and next to two other sandboxes.
//!
//! It prints; it never fails because something was slow. Its sandboxes end with
//! it, at the latest by their timeout.

mod bare;
mod cells;
mod client;
mod control;
mod daemon;
mod expiry;
mod floor;
mod idle;
mod measure;
mod others;
mod states;
mod target;
mod templates;
mod tool;

use crate::server::Server;
use crate::{criu, packages, repo};
use measure::Series;
use target::Target;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    /// How often each thing is measured.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Only pauses, snapshots and forks; with `--short` nothing that takes gigabytes.
    #[arg(long)]
    states: bool,
    /// Only builds of templates, and creates from them.
    #[arg(long)]
    templates: bool,
    /// Only lives of sandboxes: their creates, kills and timeouts.
    #[arg(long)]
    lives: bool,
    /// Only a few rounds, for a quick look.
    #[arg(long)]
    short: bool,
    /// Measure a server that runs already, instead of one of our own.
    #[arg(long, value_name = "URL", requires = "key")]
    server: Option<String>,
    /// A key that it accepts.
    #[arg(long, requires = "server")]
    key: Option<String>,
}

/// Size of the file that goes up and down.
const FILE: usize = 64 * 1024 * 1024;

/// Prints a table in Markdown.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    packages::ensure(packages::BENCH, true)?;
    criu::ensure();
    let rounds = if args.short { FEW } else { args.rounds };
    let target = match (&args.server, &args.key) {
        (Some(url), Some(key)) => Target::running(url, key.clone())?,
        _ => Target::start()?,
    };
    let mut rows = Vec::new();
    if args.states {
        tool::measure(rounds.min(SOME), &mut rows)?;
        warm_up(&target)?;
        let size = if args.short { states::Size::Small } else { states::Size::Large };
        states::measure(&target, rounds.min(SOME), size, &mut rows)?;
        println!("\n{}", measure::table(&rows));
        return target.stop();
    }
    if args.templates {
        warm_up(&target)?;
        templates::measure(&target, rounds, &mut rows)?;
        if args.server.is_none() {
            templates::image(&target, &mut rows)?;
        }
        println!("\n{}", measure::table(&rows));
        return target.stop();
    }
    floor::measure(rounds, &mut rows)?;
    if args.lives {
        warm_up(&target)?;
        lives(&target, rounds, &mut rows)?;
        expiry::measure(&target, rounds.div_ceil(40), &mut rows)?;
        control::measure(rounds, &mut rows)?;
        println!("\n{}", measure::table(&rows));
        return target.stop();
    }
    tool::measure(rounds.min(SOME), &mut rows)?;
    let mut rows = against(&target, rounds, rows)?;
    states::measure(&target, rounds.min(SOME), states::Size::Large, &mut rows)?;
    templates::measure(&target, rounds, &mut rows)?;
    if args.server.is_none() {
        templates::image(&target, &mut rows)?;
    }
    target.stop()?;
    if args.server.is_none() {
        let target = Target::start_without_waiting()?;
        warm_up(&target)?;
        let names = ["create of `code-interpreter-v1`, not waiting for its kernel", "… and its first cell"];
        cells::create(&target, rounds.div_ceil(10), names, false, &mut rows)?;
        target.stop()?;
    }
    control::measure(rounds, &mut rows)?;
    others::measure(rounds.min(50), &mut rows);
    println!("\n{}", measure::table(&rows));
    println!("\n{}", control::proxy()?);
    Ok(())
}

/// Rounds of the short form.
const FEW: u32 = 20;
/// Rounds at most of what takes a good part of a second.
const SOME: u32 = 20;

/// What continuous integration runs: measures everything a few times, prints
/// the table, and judges no time, because its machines are shared.
pub(crate) fn short(server: &Server) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    floor::measure(FEW, &mut rows)?;
    tool::measure(3, &mut rows)?;
    let target = Target::of(server);
    let mut rows = against(&target, FEW, rows)?;
    states::measure(&target, 3, states::Size::Small, &mut rows)?;
    templates::measure(&target, 3, &mut rows)?;
    println!("\n{}\n", measure::table(&rows));
    Ok(())
}

/// Everything that a server answers for.
fn against(target: &Target, rounds: u32, mut rows: Vec<Series>) -> anyhow::Result<Vec<Series>> {
    warm_up(target)?;
    lives(target, rounds, &mut rows)?;
    live_sandbox(target, rounds, &mut rows)?;
    expiry::measure(target, rounds.div_ceil(40), &mut rows)?;
    files(target, rounds.clamp(3, 20), &mut rows)?;
    daemon::measure(target, rounds, &mut rows)?;
    let names = ["create of `code-interpreter-v1`, its kernel ready", "… and its first cell"];
    cells::create(target, rounds.div_ceil(10), names, true, &mut rows)?;
    cells::measure(target, rounds, &mut rows)?;
    client::measure(target, &mut rows)?;
    idle::measure(target, rounds.div_ceil(4).min(20), &mut rows)?;
    Ok(rows)
}

/// The first create of a template mounts what the later ones share.
fn warm_up(target: &Target) -> anyhow::Result<()> {
    ["base", "code-interpreter-v1"].into_iter().try_for_each(|template| target.create(template)?.kill())
}

/// Create until usable, the first command, and the kill.
fn lives(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut create = Series::ms("create of `base` until usable").over(floor::MACHINE).promised(25.0);
    let mut first = Series::ms("its first command, `bash -l -c true`").over(floor::SHELL);
    let mut kill = Series::ms("kill, until nothing is left of it").over(floor::MACHINE);
    let mut whole = Series::ms("a life: create, `/bin/true`, kill").over(floor::MACHINE);
    for _ in 0..rounds {
        let mut sandbox = create.time(|| target.create("base"))?;
        first.time(|| sandbox.run("true", false))?;
        kill.time(|| sandbox.kill())?;
    }
    for _ in 0..rounds {
        whole.time(|| {
            let mut sandbox = target.create("base")?;
            anyhow::ensure!(sandbox.exec("/bin/true")? == 0, "true failed");
            sandbox.kill()
        })?;
    }
    rows.extend([create, first, kill, whole]);
    Ok(())
}

/// Round trips on a live sandbox.
fn live_sandbox(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut sandbox = target.create("base")?;
    let mut health = Series::ms("the daemon's `/health` through the proxy").over(floor::ROUND_TRIP);
    let mut direct = Series::ms("`/bin/true` on a live sandbox").over(floor::SPAWN).promised(4.0);
    let mut login = Series::ms("`bash -l -c true` on a live sandbox").over(floor::SHELL);
    for _ in 0..rounds {
        health.time(|| sandbox.health())?;
        anyhow::ensure!(direct.time(|| sandbox.exec("/bin/true"))? == 0, "true failed");
        login.time(|| sandbox.run("true", false))?;
    }
    rows.extend([health, direct, login]);
    sandbox.kill()
}

/// Large files, up and down. Each is a new one: to overwrite one is to wait for
/// the file system to forget the old content first.
fn files(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut sandbox = target.create("base")?;
    let bytes: Vec<u8> = (0..FILE).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
    let mut up = Series::rate("64 MiB up, a new file", FILE).over(floor::COPY).promised(500.0);
    let mut down = Series::rate("64 MiB down", FILE).over(floor::COPY).promised(500.0);
    for round in 0..rounds {
        let path = format!("/home/user/{round}");
        up.time(|| sandbox.write(&path, &bytes))?;
        let back = down.time(|| sandbox.read(&path))?;
        anyhow::ensure!(back == bytes, "the file came back changed");
    }
    rows.extend([up, down]);
    sandbox.kill()
}

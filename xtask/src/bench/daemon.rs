//! The daemon inside: output, files of several sizes, listings, events, memory.

use anyhow::Context as _;
use serde_json::json;

use super::floor;
use super::measure::Series;
use super::target::Target;
use crate::raw::Sandbox;

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;
/// What one process prints.
const OUTPUT: usize = 64 * MIB;
/// Size of the largest file here.
const LARGE: usize = 256 * MIB;
/// Entries of the directory that is listed.
const ENTRIES: usize = 10_000;

/// Measures a sandbox of its own.
pub(super) fn measure(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut sandbox = target.create("base")?;
    resident(&mut sandbox, rows)?;
    small_files(&mut sandbox, rounds, rows)?;
    output(&mut sandbox, rounds.clamp(3, 10), rows)?;
    large_files(&mut sandbox, rounds.clamp(3, 5), rows)?;
    directories(&mut sandbox, rounds, rows)?;
    sandbox.kill()
}

/// Before anything else was asked of it.
fn resident(sandbox: &mut Sandbox, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let status = String::from_utf8(sandbox.read("/proc/1/status")?).context("read the daemon's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("find its size")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("read its size")?;
    let mut size = Series::mib("resident size of the idle daemon").promised(3.0);
    size.push_bytes(kib * 1024);
    rows.push(size);
    Ok(())
}

fn small_files(sandbox: &mut Sandbox, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    for (bytes, up, down, floor) in [
        (KIB, "1 KiB up, a new file", "1 KiB down", floor::KIBIBYTE),
        (MIB, "1 MiB up, a new file", "1 MiB down", floor::MEBIBYTE),
    ] {
        let content = vec![b'x'; bytes];
        let (mut up, mut down) = (Series::ms(up).over(floor), Series::ms(down).over(floor));
        if bytes == KIB {
            up = up.promised(0.6);
        }
        for round in 0..rounds {
            let path = format!("/home/user/{bytes}-{round}");
            up.time(|| sandbox.write(&path, &content))?;
            let back = down.time(|| sandbox.read(&path))?;
            anyhow::ensure!(back == content, "the file came back changed");
        }
        rows.extend([up, down]);
    }
    Ok(())
}

fn output(sandbox: &mut Sandbox, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut series = Series::rate("64 MiB of standard output, as JSON", OUTPUT).over(floor::COPY);
    for _ in 0..rounds {
        let n_bytes = series.time(|| sandbox.print(OUTPUT))?;
        // Base64 of the bytes, and something around it.
        anyhow::ensure!(n_bytes > OUTPUT / 3 * 4, "only {n_bytes} bytes came");
    }
    rows.push(series);
    Ok(())
}

fn large_files(sandbox: &mut Sandbox, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let bytes = vec![b'x'; LARGE];
    let mut up = Series::rate("256 MiB up, a new file", LARGE).over(floor::COPY);
    let mut down = Series::rate("256 MiB down", LARGE).over(floor::COPY);
    for round in 0..rounds {
        let path = format!("/home/user/large-{round}");
        up.time(|| sandbox.write(&path, &bytes))?;
        let back = down.time(|| sandbox.read(&path))?;
        anyhow::ensure!(back.len() == LARGE, "{} bytes came back", back.len());
        sandbox.call("/filesystem.Filesystem/Remove", &json!({ "path": path }))?;
    }
    rows.extend([up, down]);
    Ok(())
}

fn directories(sandbox: &mut Sandbox, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let make = format!("mkdir many watched && cd many && seq {ENTRIES} | xargs touch");
    anyhow::ensure!(sandbox.run(&make, false)?.0 == 0, "the files could not be made");
    let mut stat = Series::ms("stat of a file").over(floor::ROUND_TRIP);
    let mut list = Series::ms("list of 10,000 entries");
    let mut event = Series::ms("1 KiB up, and its three events polled").over(floor::KIBIBYTE);
    let watcher =
        sandbox.call("/filesystem.Filesystem/CreateWatcher", &json!({ "path": "/home/user/watched" }))?;
    for round in 0..rounds {
        stat.time(|| sandbox.call("/filesystem.Filesystem/Stat", &json!({ "path": "/home/user/many/7" })))?;
        if round % 10 == 0 {
            let listed = list.time(|| {
                sandbox.call("/filesystem.Filesystem/ListDir", &json!({ "path": "/home/user/many" }))
            })?;
            let n = listed["entries"].as_array().map_or(0, Vec::len);
            anyhow::ensure!(n == ENTRIES, "{n} entries listed");
        }
        let told = event.time(|| {
            sandbox.write(&format!("/home/user/watched/{round}"), &[b'x'; KIB])?;
            sandbox.call("/filesystem.Filesystem/GetWatcherEvents", &watcher)
        })?;
        anyhow::ensure!(told["events"].as_array().map_or(0, Vec::len) == 3, "not three events: {told}");
    }
    rows.extend([stat, list, event]);
    Ok(())
}

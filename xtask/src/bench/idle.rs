//! What an idle sandbox costs the host in memory, seen three times: what the kernel
//! charges to its cgroup, what its processes hold that nobody else maps, and what
//! the host as a whole can no longer give out.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::measure::Series;
use super::target::Target;
use crate::raw::Sandbox;

/// Kernels still load, and caches settle, after the creates have answered.
const SETTLE: Duration = Duration::from_secs(5);

/// 25 MB, which is what an interpreter's sandbox may hold alone.
const UNIQUE: f64 = 25e6 / (1024.0 * 1024.0);

/// Measures both templates, with `count` sandboxes at a time.
pub(super) fn measure(target: &Target, count: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    for (template, promise, unique_promise) in
        [("base", Some(6.0), None), ("code-interpreter-v1", None, Some(UNIQUE))]
    {
        let mut unique =
            Series::mib(format!("unique memory of an idle `{template}`")).perhaps(unique_promise);
        let mut charged = Series::mib(format!("memory charged to an idle `{template}`"));
        let mut lost = Series::mib(format!("memory the host loses to each of {count} idle `{template}`"));
        if let Some(promise) = promise {
            (charged, lost) = (charged.promised(promise), lost.promised(promise));
        }
        let before = available()?;
        let sandboxes: Vec<Sandbox> =
            (0..count).map(|_| target.create(template)).collect::<Result<_, _>>()?;
        std::thread::sleep(SETTLE);
        lost.push_bytes(before.saturating_sub(available()?) / u64::from(count));
        for sandbox in &sandboxes {
            charged.push_bytes(charged_to(&sandbox.id)?);
            unique.push_bytes(unique_to(&sandbox.id)?);
        }
        sandboxes.into_iter().try_for_each(Sandbox::kill)?;
        rows.extend([charged, unique, lost]);
    }
    Ok(())
}

/// Bytes that the host could still give out.
fn available() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("find MemAvailable")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("read MemAvailable")?;
    Ok(kib * 1024)
}

/// What a sandbox's cgroup holds, kernel memory included, and without cached
/// pages of files, which the host takes back when it needs them.
fn charged_to(sandbox_id: &str) -> anyhow::Result<u64> {
    let places = [
        ("/sys/fs/cgroup/memory", "memory.usage_in_bytes", "total_inactive_file"),
        ("/sys/fs/cgroup", "memory.current", "inactive_file"),
    ];
    let (dir, usage, cached) = places
        .into_iter()
        .find_map(|(root, usage, cached)| Some((find(root, sandbox_id)?, usage, cached)))
        .context("find the sandbox's cgroup: is the server on this host?")?;
    let number = |text: &str| text.trim().parse::<u64>().context("read a size");
    let usage = number(&fs::read_to_string(dir.join(usage)).context("read a cgroup's usage")?)?;
    let stat = fs::read_to_string(dir.join("memory.stat")).context("read a cgroup's memory.stat")?;
    let cached = stat.lines().find_map(|line| line.strip_prefix(cached)).map_or(Ok(0), number)?;
    Ok(usage.saturating_sub(cached))
}

/// Bytes that the sandbox's processes map and no process outside of it does, on
/// swap or not. Pages that several of its own share are left out; an idle one has
/// next to none.
fn unique_to(sandbox_id: &str) -> anyhow::Result<u64> {
    let processes = fs::read_dir("/proc").context("list processes")?.flatten().map(|entry| entry.path());
    let own = processes
        .filter(|dir| fs::read_to_string(dir.join("cgroup")).is_ok_and(|groups| groups.contains(sandbox_id)));
    let kib: Vec<u64> = own
        .map(|dir| fs::read_to_string(dir.join("smaps_rollup")).context("read a process's smaps_rollup"))
        .map(|text| text.map(|text| unique_in(&text)))
        .collect::<Result<_, _>>()?;
    anyhow::ensure!(!kib.is_empty(), "the sandbox has no processes: is the server on this host?");
    Ok(kib.iter().sum::<u64>() * 1024)
}

/// Of a `smaps_rollup`, in KiB.
fn unique_in(rollup: &str) -> u64 {
    let sizes = rollup.lines().filter_map(|line| {
        let (name, size) = line.split_once(':')?;
        let counts = matches!(name, "Private_Clean" | "Private_Dirty" | "Swap");
        counts.then(|| size.trim().trim_end_matches(" kB").parse::<u64>().ok())?
    });
    sizes.sum()
}

/// The sandbox's own directory, one below that of its server.
fn find(root: &str, sandbox_id: &str) -> Option<PathBuf> {
    let servers = fs::read_dir(root).ok()?.flatten();
    servers.map(|server| server.path().join(sandbox_id)).find(|dir| dir.join("memory.stat").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_is_what_is_private_and_what_is_on_swap() {
        let rollup = "55d8-7ffc ---p 00000000 00:00 0 [rollup]\nRss:   900 kB\nPss:   500 kB\n\
                      Shared_Clean: 70 kB\nPrivate_Clean:   12 kB\nPrivate_Dirty:  400 kB\n\
                      Private_Hugetlb: 9 kB\nSwap:   30 kB\nSwapPss: 15 kB\n";
        assert_eq!(unique_in(rollup), 442);
    }
}

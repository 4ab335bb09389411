//! What an idle sandbox costs the host in memory, seen twice: what the kernel
//! charges to its cgroup, and what the host as a whole can no longer give out.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::measure::Series;
use super::target::Target;
use crate::raw::Sandbox;

/// Kernels still load, and caches settle, after the creates have answered.
const SETTLE: Duration = Duration::from_secs(5);

/// Measures both templates, with `count` sandboxes at a time.
pub(super) fn measure(target: &Target, count: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    for (template, promise) in [("base", Some(6.0)), ("code-interpreter-v1", None)] {
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
        }
        sandboxes.into_iter().try_for_each(Sandbox::kill)?;
        rows.extend([charged, lost]);
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

/// The sandbox's own directory, one below that of its server.
fn find(root: &str, sandbox_id: &str) -> Option<PathBuf> {
    let servers = fs::read_dir(root).ok()?.flatten();
    servers.map(|server| server.path().join(sandbox_id)).find(|dir| dir.join("memory.stat").exists())
}

//! What the sandbox uses: from its cgroup where that is mounted, else from `/proc`.

use std::cell::Cell;
use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wire::control::Limits;
use wire::files::Metrics;

/// Bytes of a page on x86-64, the only architecture that the daemon is built for.
const PAGE: u64 = 4096;

/// Remembers the last look at the processors' time, because the figure is a difference.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Cell<Option<(Instant, u64)>>,
}

impl Meter {
    /// Measures now. The first call has no processor figure yet and says 0.
    pub(crate) fn measure(&self, limits: Option<Limits>) -> Metrics {
        let (mem_used, mem_cache, mem_total) = memory();
        let mem_total = limits.map_or(mem_total, |limits| limits.memory_bytes);
        let cpu_count = limits.map_or_else(host_cpus, |limits| limits.cpu_count);
        let (disk_used, disk_total) = disk();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Metrics {
            ts: now.as_secs().cast_signed(),
            cpu_count,
            cpu_used_pct: self.cpu_used_pct(cpu_count),
            mem_total_mib: mem_total >> 20,
            mem_used_mib: mem_used >> 20,
            mem_total,
            mem_used,
            mem_cache,
            disk_used,
            disk_total: limits.map_or(disk_total, |limits| limits.disk_bytes.min(disk_total)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a percentage with two decimals")]
    fn cpu_used_pct(&self, cpu_count: u32) -> f64 {
        let (now, used_us) = (Instant::now(), cpu_time_us());
        let Some((then, used_us_then)) = self.last.replace(Some((now, used_us))) else { return 0.0 };
        let available_us = now.duration_since(then).as_micros() as f64 * f64::from(cpu_count.max(1));
        let pct = used_us.saturating_sub(used_us_then) as f64 / available_us.max(1.0) * 100.0;
        (pct.clamp(0.0, 100.0) * 100.0).round() / 100.0
    }
}

/// Used without cache, cache, and total, in bytes.
pub(crate) fn memory() -> (u64, u64, u64) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = kib(&meminfo, "MemTotal:");
    let cgroup = [
        ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
        ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.stat", "total_cache"),
    ];
    for (usage, stat, cache) in cgroup {
        if let Some(usage) = number(usage) {
            let stat = fs::read_to_string(stat).unwrap_or_default();
            let cache = field(&stat, cache).unwrap_or(0).min(usage);
            return (usage - cache, cache, total);
        }
    }
    (resident(), 0, total)
}

/// Memory that processes hold, pages that several share counted once for each:
/// what can be known where no cgroup tells. `/proc/meminfo` is no source, it is
/// made from this.
fn resident() -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let pages: u64 = processes
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
        .filter_map(|entry| fs::read_to_string(entry.path().join("statm")).ok())
        .filter_map(|statm| statm.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    pages.saturating_mul(PAGE)
}

/// Processor time used so far, in microseconds.
pub(crate) fn cpu_time_us() -> u64 {
    if let Some(ns) = number("/sys/fs/cgroup/cpuacct/cpuacct.usage") {
        return ns / 1000;
    }
    if let Some(us) =
        fs::read_to_string("/sys/fs/cgroup/cpu.stat").ok().and_then(|stat| field(&stat, "usage_usec"))
    {
        return us;
    }
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = ticks.filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; a tick is 10 ms on x86-64.
    ticks.iter().enumerate().filter(|(i, _)| !matches!(i, 3 | 4) && *i < 8).map(|(_, n)| n * 10_000).sum()
}

fn host_cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

fn disk() -> (u64, u64) {
    let Ok(root) = rustix::fs::statvfs("/") else { return (0, 0) };
    let bytes = |blocks: u64| blocks.saturating_mul(root.f_frsize);
    let total = bytes(root.f_blocks);
    (total.saturating_sub(bytes(root.f_bavail)), total)
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn kib(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    value.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn processes_hold_memory() {
        let before = super::resident();
        assert!(before > 1 << 20, "at least this test is there: {before}");
    }
}

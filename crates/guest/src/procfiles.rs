//! The files that stand in for `/proc/meminfo`, `stat`, `uptime` and `loadavg`.
//!
//! The host puts plain files over them that show the sandbox's limits instead of
//! the machine's. The daemon keeps them fresh while users' processes run: at most
//! once a second, and an idle sandbox never wakes for it. They are written in
//! place, because they are mounted by inode.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wire::control::Limits;

use crate::daemon::Daemon;
use crate::metrics;

/// Where the host put them.
const DIR: &str = "/run/warren/proc";
/// Between two refreshes.
const PERIOD: Duration = Duration::from_secs(1);
/// A tick of the kernel's accounting on x86-64.
const TICK_US: u64 = 10_000;

/// Refreshes while processes run, until the daemon ends.
pub(crate) async fn keep_fresh(daemon: Rc<Daemon>) -> std::io::Result<()> {
    if !Path::new(DIR).is_dir() {
        return std::future::pending().await;
    }
    let mut figures = Figures::new();
    loop {
        daemon.processes.wait_for_any().await;
        if let Some(limits) = daemon.settings.get().limits {
            figures.refresh(limits);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What the figures are computed from.
struct Figures {
    booted: Instant,
    booted_at: u64,
    last: Option<(Instant, u64)>,
    /// Exponentially damped means over 1, 5 and 15 minutes of the processors in use.
    loads: [f64; 3],
}

impl Figures {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { booted: Instant::now(), booted_at: now.as_secs(), last: None, loads: [0.0; 3] }
    }

    /// Best effort: a file that is not there is not shown.
    fn refresh(&mut self, limits: Limits) {
        let (now, used_us) = (Instant::now(), metrics::cpu_time_us());
        self.damp(now, used_us);
        let uptime = now.duration_since(self.booted);
        let (mem_used, mem_cache, _) = metrics::memory();
        write("meminfo", &meminfo(limits.memory_bytes, mem_used, mem_cache));
        write("stat", &stat(limits.cpu_count, used_us / TICK_US, uptime, self.booted_at));
        let idle_s = (uptime.as_secs_f64() * f64::from(limits.cpu_count) - seconds(used_us)).max(0.0);
        write("uptime", &format!("{:.2} {idle_s:.2}\n", uptime.as_secs_f64()));
        let [one, five, fifteen] = self.loads;
        let (running, all, newest) = tasks();
        write("loadavg", &format!("{one:.2} {five:.2} {fifteen:.2} {running}/{all} {newest}\n"));
    }

    fn damp(&mut self, now: Instant, used_us: u64) {
        let Some((then, used_us_then)) = self.last.replace((now, used_us)) else { return };
        let elapsed_s = now.duration_since(then).as_secs_f64().max(0.001);
        let in_use = seconds(used_us.saturating_sub(used_us_then)) / elapsed_s;
        for (load, minutes) in self.loads.iter_mut().zip([1.0, 5.0, 15.0]) {
            let keep = (-elapsed_s / (60.0 * minutes)).exp();
            *load = *load * keep + in_use * (1.0 - keep);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of processor time, shown with two decimals")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn meminfo(total: u64, used: u64, cache: u64) -> String {
    let available = total.saturating_sub(used);
    let free = available.saturating_sub(cache);
    let mut text = String::new();
    let rows = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", available),
        ("Buffers", 0),
        ("Cached", cache),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", cache),
        ("AnonPages", used),
        ("Shmem", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
    ];
    for (name, bytes) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<16}{:>8} kB", format!("{name}:"), bytes / 1024);
    }
    text
}

/// The used time is shown as user time, spread evenly: the cgroup does not tell more.
fn stat(cpu_count: u32, used: u64, uptime: Duration, booted_at: u64) -> String {
    let n = u64::from(cpu_count.max(1));
    let lifetime = u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX) / TICK_US;
    let line = |name: &str, used: u64, lifetime: u64| {
        format!("{name} {used} 0 0 {} 0 0 0 0 0 0\n", lifetime.saturating_sub(used))
    };
    let mut text = line("cpu ", used, lifetime.saturating_mul(n));
    for cpu in 0..n {
        text += &line(&format!("cpu{cpu}"), used / n, lifetime);
    }
    let (running, all, _) = tasks();
    text + &format!("ctxt 0\nbtime {booted_at}\nprocesses {all}\nprocs_running {running}\nprocs_blocked 0\n")
}

/// Running and all processes, and the highest id.
fn tasks() -> (usize, usize, u32) {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.fold((0, 0, 0), |(running, all, newest), id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let runs = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'));
        (running + usize::from(runs), all + 1, newest.max(id))
    })
}

fn write(name: &str, text: &str) {
    let path: PathBuf = Path::new(DIR).join(name);
    if let Ok(mut file) = OpenOptions::new().write(true).open(path) {
        // One call for the content, so that readers see the old or the new; then the length.
        let _ = file.write_all(text.as_bytes()).and_then(|()| file.set_len(text.len() as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_parse_as_the_kernels_do() {
        let text = meminfo(512 << 20, 100 << 20, 50 << 20);
        assert!(text.starts_with("MemTotal:         524288 kB\nMemFree:          370688 kB\n"), "{text}");
        let text = stat(2, 300, Duration::from_secs(10), 7);
        assert!(text.starts_with("cpu  300 0 0 1700 0"), "{text}");
        assert!(text.contains("\ncpu1 150 0 0 850 0") && text.contains("\nbtime 7\n"), "{text}");
    }

    #[test]
    fn loads_rise_towards_what_is_in_use_and_the_shortest_first() {
        let mut figures = Figures::new();
        let start = Instant::now();
        for second in 0..60 {
            figures.damp(start + Duration::from_secs(second), second * 2_000_000);
        }
        let [one, five, fifteen] = figures.loads;
        assert!(1.2 < one && one < 2.0 && one > five && five > fifteen, "{:?}", figures.loads);
    }
}

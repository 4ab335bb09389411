//! What kind of machine the host is, and how busy.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use model::ByteSize;

use crate::disk;
use crate::handle::Handle;

/// Between the two looks at the processors' time.
const WINDOW: Duration = Duration::from_millis(100);

/// A host, as its operator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// `x86_64`, as the kernel calls it.
    pub architecture: &'static str,
    /// Family, model and name of the processor; empty where the kernel tells none.
    pub cpu_family: String,
    /// See [`Self::cpu_family`].
    pub cpu_model: String,
    /// See [`Self::cpu_family`].
    pub cpu_name: String,
    /// Processors.
    pub cpu_count: u32,
    /// How busy they were together in the last tenth of a second, 0 to 100.
    pub cpu_percent: u32,
    /// The file system of sandboxes and templates.
    pub disk: Disk,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Where it is mounted.
    pub mount_point: String,
    /// What it is on.
    pub device: String,
    /// Its kind, such as `btrfs`.
    pub kind: String,
    /// Its size.
    pub total: ByteSize,
    /// What is taken of it.
    pub used: ByteSize,
}

impl Handle {
    /// Looks at the host; takes a tenth of a second.
    pub async fn host(&self) -> io::Result<Host> {
        let before = disk::blocking(busy_and_all).await?;
        tokio::time::sleep(WINDOW).await;
        let dir = self.shared.options.bulk_dir.clone();
        disk::blocking(move || look(before, &dir)).await
    }
}

fn look(before: (u64, u64), dir: &Path) -> io::Result<Host> {
    let (busy, all) = busy_and_all()?;
    let (busy, all) = (busy.saturating_sub(before.0), all.saturating_sub(before.1));
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = cpus.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let count = std::thread::available_parallelism()?.get();
    Ok(Host {
        architecture: std::env::consts::ARCH,
        cpu_family: field("cpu family"),
        cpu_model: field("model"),
        cpu_name: field("model name"),
        cpu_count: u32::try_from(count).unwrap_or(u32::MAX),
        cpu_percent: u32::try_from((busy * 100).checked_div(all).unwrap_or_default()).unwrap_or(100),
        disk: file_system(dir)?,
    })
}

/// Time of all processors together since the start of the machine, in ticks.
fn busy_and_all() -> io::Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    Ok(parse_stat(&stat))
}

/// `cpu user nice system idle iowait irq softirq steal …`; guests are in user already.
fn parse_stat(stat: &str) -> (u64, u64) {
    let line = stat.lines().find(|line| line.starts_with("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).map(|n| n.parse().unwrap_or(0)).collect();
    let all: u64 = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    (all - idle, all)
}

fn file_system(dir: &Path) -> io::Result<Disk> {
    let stat = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| ByteSize::bytes(blocks.saturating_mul(stat.f_frsize));
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let dir = dir.canonicalize()?;
    let (device, mount_point, kind) = mount_of(&mounts, &dir).unwrap_or_default();
    Ok(Disk {
        mount_point: mount_point.to_owned(),
        device: device.to_owned(),
        kind: kind.to_owned(),
        total: bytes(stat.f_blocks),
        used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
    })
}

/// Device, mount point and kind of what a directory is on: the longest fits, of
/// two on one place the later.
fn mount_of<'a>(mounts: &'a str, dir: &Path) -> Option<(&'a str, &'a str, &'a str)> {
    let fields = |line: &'a str| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    };
    let around = mounts.lines().filter_map(fields).filter(|(_, point, _)| dir.starts_with(point));
    around.max_by_key(|(_, point, _)| point.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_idle_and_waiting() {
        assert_eq!(parse_stat("cpu  10 1 5 80 4 0 0 0 7 0\ncpu0 1 1 1 1\n"), (16, 100));
        assert_eq!(parse_stat(""), (0, 0));
    }

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\n/dev/b /var/lib/x btrfs rw 0 0\n/dev/c /var/lib/xy xfs rw 0 0\n";
        assert_eq!(mount_of(mounts, Path::new("/var/lib/x/y")), Some(("/dev/b", "/var/lib/x", "btrfs")));
        assert_eq!(mount_of(mounts, Path::new("/var")), Some(("/dev/a", "/", "ext4")));
    }
}

//! First versions of the files that show a sandbox's own limits instead of the
//! host's. The guest keeps them fresh.

use model::Resources;

use super::orders::Shown;

/// The files for a machine with these limits.
pub(super) fn files(resources: Resources, cpus: u32, boot_id: &str, now_secs: u64) -> Vec<Shown> {
    let host_cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let online = if cpus == 1 { "0\n".to_owned() } else { format!("0-{}\n", cpus.saturating_sub(1)) };
    let shown = |name: &str, over: &str, content: String| Shown {
        name: name.to_owned(),
        over: over.to_owned(),
        content,
    };
    vec![
        shown("meminfo", "/proc/meminfo", meminfo(resources.memory.as_u64() / 1024)),
        shown("cpuinfo", "/proc/cpuinfo", cpuinfo(&host_cpus, cpus)),
        shown("stat", "/proc/stat", stat(cpus, now_secs)),
        shown("uptime", "/proc/uptime", "0.00 0.00\n".to_owned()),
        shown("loadavg", "/proc/loadavg", "0.00 0.00 0.00 1/1 1\n".to_owned()),
        shown("boot_id", "/proc/sys/kernel/random/boot_id", format!("{boot_id}\n")),
        shown("cpu_online", "/sys/devices/system/cpu/online", online),
    ]
}

fn meminfo(total_kib: u64) -> String {
    let lines: [(&str, u64); 10] = [
        ("MemTotal:", total_kib),
        ("MemFree:", total_kib),
        ("MemAvailable:", total_kib),
        ("Buffers:", 0),
        ("Cached:", 0),
        ("SwapCached:", 0),
        ("SwapTotal:", 0),
        ("SwapFree:", 0),
        ("Shmem:", 0),
        ("SReclaimable:", 0),
    ];
    let lines: Vec<String> = lines.iter().map(|(name, kib)| format!("{name:<15}{kib:>9} kB\n")).collect();
    lines.concat()
}

/// The host's first processors, as many as the sandbox has.
fn cpuinfo(host: &str, cpus: u32) -> String {
    host.split_inclusive("\n\n").take(cpus as usize).collect()
}

fn stat(cpus: u32, now_secs: u64) -> String {
    let zeros = "0 0 0 0 0 0 0 0 0 0";
    let each: Vec<String> = (0..cpus).map(|i| format!("cpu{i} {zeros}\n")).collect();
    let each = each.concat();
    format!(
        "cpu  {zeros}\n{each}intr 0\nctxt 0\nbtime {now_secs}\nprocesses 1\nprocs_running 1\nprocs_blocked 0\nsoftirq 0\n"
    )
}

/// A random UUID in its usual form.
pub(super) fn random_uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_limits_and_not_the_host() {
        assert!(meminfo(1_048_576).starts_with("MemTotal:        1048576 kB\nMemFree:"));
        assert_eq!(
            cpuinfo("processor: 0\n\nprocessor: 1\n\nprocessor: 2\n\n", 2),
            "processor: 0\n\nprocessor: 1\n\n"
        );
        assert!(stat(2, 7).contains("cpu1 0") && !stat(2, 7).contains("cpu2"));
        assert_eq!(random_uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}

//! What this host can do, for `warren doctor` and the messages of a start that fails.

use std::path::Path;

use super::cgroup::Cgroups;

/// One capability of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub capability: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// What was found, in words.
    pub detail: String,
    /// What to do if it is not there.
    pub advice: &'static str,
    /// Whether nothing works without it.
    pub required: bool,
    /// Whether it is there, and a limit that is too low.
    pub is_low: bool,
}

impl Finding {
    fn new(capability: &'static str, result: Result<String, String>, advice: &'static str) -> Self {
        let ok = result.is_ok();
        Self { capability, ok, detail: result.unwrap_or_else(|e| e), advice, required: true, is_low: false }
    }

    fn optional(self) -> Self {
        Self { required: false, ..self }
    }

    /// A number of the host's that sandboxes share.
    fn limit(capability: &'static str, path: &str, enough: u64, advice: &'static str) -> Self {
        let (result, is_low) = at_least(path, enough);
        Self { is_low, ..Self::new(capability, result, advice).optional() }
    }
}

/// Looks for everything that machines of namespaces need. Changes nothing that
/// lasts; takes some milliseconds; blocks.
pub fn probe() -> Vec<Finding> {
    vec![
        Finding::new("root", root(), "run the server as root (sudo warren up)"),
        Finding::new("kernel", kernel(), "use Linux 6.1 or newer"),
        Finding::new(
            "user namespaces",
            limit("/proc/sys/user/max_user_namespaces"),
            "set sysctl user.max_user_namespaces to 10000 or more",
        ),
        Finding::new(
            "network namespaces",
            limit("/proc/sys/user/max_net_namespaces"),
            "set sysctl user.max_net_namespaces to 10000 or more",
        ),
        Finding::new(
            "namespaces",
            namespaces(),
            "use a kernel with CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS and CONFIG_TIME_NS",
        ),
        Finding::new("overlay", file_system("overlay"), "load the module: modprobe overlay"),
        Finding::new(
            "control groups",
            cgroups(),
            "let the server write to /sys/fs/cgroup (in a container: --privileged with --cgroupns=host)",
        ),
        Finding::new("system call filter", seccomp(), "use a kernel with CONFIG_SECCOMP_FILTER on x86-64"),
        Finding::new("packet filter", program("nft"), "install the package nftables"),
        Finding::limit(
            "process ids",
            "/proc/sys/kernel/pid_max",
            262_144,
            "sandboxes share the host's process ids; set sysctl kernel.pid_max to 4194304",
        ),
        Finding::limit(
            "open files",
            "/proc/sys/fs/file-max",
            8_000_000,
            "sandboxes share the host's table of open files; set sysctl fs.file-max to 9223372036854775807",
        ),
        Finding::new("btrfs tools", program("mkfs.btrfs"), "install the package btrfs-progs").optional(),
        Finding::new("loop devices", exists("/dev/loop-control"), "load the module: modprobe loop")
            .optional(),
    ]
}

fn root() -> Result<String, String> {
    match rustix::process::geteuid().as_raw() {
        0 => Ok("running as root".to_owned()),
        id => Err(format!("running as user {id}")),
    }
}

fn kernel() -> Result<String, String> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 1) {
        Ok(format!("Linux {release}"))
    } else {
        Err(format!("Linux {release} is too old"))
    }
}

fn limit(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    match text.trim().parse::<u64>() {
        Ok(0) => Err("switched off".to_owned()),
        Ok(n) => Ok(format!("up to {n}")),
        Err(e) => Err(format!("{path}: {e}")),
    }
}

/// What sandboxes together could use up for the host, and whether it is there but low.
fn at_least(path: &str, enough: u64) -> (Result<String, String>, bool) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => return (Err(format!("{path}: {e}")), false),
    };
    match text.trim().parse::<u64>() {
        Ok(n) if n < enough => (Err(format!("{n}; many sandboxes need {enough}")), true),
        Ok(n) => (Ok(format!("up to {n}")), false),
        Err(e) => (Err(format!("{path}: {e}")), false),
    }
}

fn namespaces() -> Result<String, String> {
    let kinds = ["user", "mnt", "pid", "net", "uts", "ipc", "time", "cgroup"];
    let missing: Vec<&str> =
        kinds.into_iter().filter(|kind| !Path::new("/proc/self/ns").join(kind).exists()).collect();
    if missing.is_empty() {
        Ok("all kinds".to_owned())
    } else {
        Err(format!("without {}", missing.join(", ")))
    }
}

/// Asks for the file system instead of reading the list of known ones: asking
/// loads its module.
fn file_system(name: &str) -> Result<String, String> {
    let asked = rustix::mount::fsopen(name, rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC);
    asked.map(|_| "known to the kernel".to_owned()).map_err(|e| e.to_string())
}

fn cgroups() -> Result<String, String> {
    // A subtree of the probe's own, which goes with the value.
    let opened = Cgroups::open(&format!("warren-probe-{}", std::process::id()));
    opened.map(|groups| groups.describe().to_owned()).map_err(|e| crate::backend::chain(&e))
}

fn seccomp() -> Result<String, String> {
    let actions = "/proc/sys/kernel/seccomp/actions_avail";
    let text = std::fs::read_to_string(actions).map_err(|e| format!("{actions}: {e}"))?;
    if cfg!(target_arch = "x86_64") && text.split_whitespace().any(|action| action == "errno") {
        Ok("available".to_owned())
    } else {
        Err("not available".to_owned())
    }
}

fn program(name: &str) -> Result<String, String> {
    let dirs = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    found.map(|path| path.display().to_string()).ok_or_else(|| format!("{name} is not installed"))
}

fn exists(path: &str) -> Result<String, String> {
    if Path::new(path).exists() { Ok(path.to_owned()) } else { Err(format!("{path} does not exist")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_there_is_low_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("limit");
        let path = path.to_str().unwrap();
        assert!(matches!(at_least(path, 10), (Err(_), false)), "it is not there");
        for (text, expected) in [
            ("9\n", (Err("9; many sandboxes need 10".to_owned()), true)),
            ("10\n", (Ok("up to 10".to_owned()), false)),
        ] {
            std::fs::write(path, text).unwrap();
            assert_eq!(at_least(path, 10), expected);
        }
    }
}

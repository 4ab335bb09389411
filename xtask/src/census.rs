//! Counts what a server could leave behind on the host: mounts, network
//! namespaces and interfaces, cgroups, processes, loop devices.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Network namespaces and their interfaces go some time after their last process.
const SETTLE: Duration = Duration::from_secs(15);

/// Everything of ours at one moment; each entry is a name that a person can look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Census {
    found: BTreeSet<String>,
}

impl Census {
    /// Looks around. The state directory's own file system mount counts as well.
    pub(crate) fn take() -> Self {
        let mut found = BTreeSet::new();
        found.extend(mounts());
        found.extend(interfaces());
        found.extend(cgroups());
        found.extend(processes());
        found.extend(loop_devices());
        Self { found }
    }

    /// Waits until nothing is there that was not there before.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let now = Self::take();
            let left: Vec<&String> = now.found.difference(&self.found).collect();
            if left.is_empty() {
                return Ok(());
            }
            if start.elapsed() > SETTLE {
                bail!("left behind: {left:#?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .enumerate()
        .map(|(at, path)| (at, path.to_owned()))
        .scan(std::collections::BTreeMap::<String, usize>::new(), |seen, (_, path)| {
            let n = seen.entry(path.clone()).or_default();
            *n += 1;
            Some(format!("mount {path} ({n})"))
        })
        .collect()
}

fn interfaces() -> Vec<String> {
    names("/sys/class/net").into_iter().map(|name| format!("interface {name}")).collect()
}

fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Sandboxes live in subtrees named after us, in every hierarchy.
fn cgroups() -> Vec<String> {
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 6, &mut found);
    found
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if depth == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if path.components().any(|part| part.as_os_str().to_string_lossy().contains("warren")) {
            found.push(format!("cgroup {}", path.display()));
        }
        walk(&path, depth - 1, found);
    }
}

/// Processes of sandboxes: those in another pid namespace than ours, and every
/// process that runs the server's or the guest's program.
fn processes() -> Vec<String> {
    let own = fs::read_link("/proc/self/ns/pid").ok();
    names("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| {
            let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
            let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let program = program.trim();
            let ours = Some(namespace) != own || program == "warren" || program.starts_with("warren-");
            ours.then(|| format!("process {pid} ({program})"))
        })
        .collect()
}

fn loop_devices() -> Vec<String> {
    names("/sys/block")
        .into_iter()
        .filter_map(|name| {
            let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
            Some(format!("loop device {name} on {}", file.trim()))
        })
        .collect()
}

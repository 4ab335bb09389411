//! Counts what a server of this test run could leave behind on the host: mounts,
//! network interfaces, cgroups, processes, loop devices. What other servers on
//! the machine have at the same time is theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::repo;
use crate::server::Apart;

/// Network namespaces and their interfaces go some time after their last process.
const SETTLE: Duration = Duration::from_secs(15);

/// Everything of ours at one moment; each entry is a name that a person can look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Census {
    found: BTreeSet<String>,
}

impl Census {
    /// Looks around. The state directory's own file system mount counts as well.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let apart = Apart::of_this_run()?;
        let mut found = BTreeSet::new();
        found.extend(mounts());
        found.extend(interfaces(&apart.interface_prefix));
        found.extend(cgroups(&apart.instance));
        found.extend(processes(&apart.user_ids));
        found.extend(loop_devices());
        Ok(Self { found })
    }

    /// Waits until nothing is there that was not there before.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let now = Self::take()?;
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
    let others = foreign_devices();
    let mut seen = BTreeMap::<&str, usize>::new();
    text.lines()
        .filter(|line| !line.split(' ').any(|word| others.iter().any(|device| device == word)))
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| {
            let n = seen.entry(path).or_default();
            *n += 1;
            format!("mount {path} ({n})")
        })
        .collect()
}

/// The interfaces of this run's sandboxes bear its prefix.
fn interfaces(prefix: &str) -> Vec<String> {
    let ours = names("/sys/class/net").into_iter().filter(|name| name.starts_with(prefix));
    ours.map(|name| format!("interface {name}")).collect()
}

fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Sandboxes live in subtrees named after the instance, in every hierarchy; a
/// server that was told no name uses the product's.
fn cgroups(instance: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 6, &[instance, "warren"], &mut found);
    found
}

fn walk(dir: &Path, depth: usize, roots: &[&str], found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if depth == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if path.components().any(|part| roots.iter().any(|root| part.as_os_str() == *root)) {
            found.push(format!("cgroup {}", path.display()));
        }
        walk(&path, depth - 1, roots, found);
    }
}

/// What runs our program, and what has a user id of our sandboxes.
fn processes(user_ids: &Range<u32>) -> Vec<String> {
    names("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| {
            let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let runs = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let ours = runs.starts_with(repo::target().join("release")) && program.starts_with("warren");
            (ours || is_of_a_sandbox(&pid, user_ids)).then(|| format!("process {pid} ({})", program.trim()))
        })
        .collect()
}

fn is_of_a_sandbox(pid: &str, user_ids: &Range<u32>) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    ids.split_whitespace().filter_map(|id| id.parse().ok()).any(|id: u32| user_ids.contains(&id))
}

fn loop_devices() -> Vec<String> {
    let ours = backing_files().into_iter().filter(|(_, file)| is_ours(file));
    ours.map(|(name, file)| format!("loop device {name} on {file}")).collect()
}

/// Loop devices over files of somebody else, as mounts name them.
fn foreign_devices() -> Vec<String> {
    let others = backing_files().into_iter().filter(|(_, file)| !is_ours(file));
    others.map(|(name, _)| format!("/dev/{name}")).collect()
}

fn is_ours(file: &str) -> bool {
    Path::new(file).starts_with(repo::target()) || Path::new(file).starts_with(repo::state())
}

/// Each loop device in use, and its file.
fn backing_files() -> Vec<(String, String)> {
    let backing = |name: &str| fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok();
    let devices = names("/sys/block").into_iter();
    devices.filter_map(|name| backing(&name).map(|file| (name, file.trim().to_owned()))).collect()
}

//! Many forks of one sandbox with a heap: each goes on with the heap as it was and
//! is changed by nobody else; what the source and the host pay for it is told.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::raw::Sandbox;
use crate::server::Server;

/// What one soak of forks does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Forks in all.
    pub(crate) forks: u32,
    /// Of the source's heap.
    pub(crate) heap_mib: u32,
}

/// The form that every test run includes.
pub(crate) const SHORT: Plan = Plan { forks: 3, heap_mib: 16 };

/// Children of one call, which is to be answered within the limit of every request;
/// each child reads its heap from the disk.
const OF_ONE_CALL: u32 = 10;
/// Until an answer.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a child lives at most, so that the first is there when the last is looked at.
const LIFE_S: u32 = 3600;

/// What it took.
#[derive(Debug)]
pub(crate) struct Paid {
    /// For how long the source stood still at most, for one call.
    still: Duration,
    /// From the first call to the last answer, when all were usable.
    wall: Duration,
    /// Memory that a child has for itself, as the median of all.
    own_mib: u64,
    /// Memory that it shares with whoever maps the same, as the median of all.
    shared_mib: u64,
}

impl std::fmt::Display for Paid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { still, wall, own_mib, shared_mib } = self;
        write!(f, "the source stood still for {still:.1?}, all were usable after {wall:.1?}, ")?;
        write!(f, "each has {own_mib} MiB for itself and {shared_mib} MiB that it may share")
    }
}

/// Forks, changes every one, looks at every one, and ends them all.
pub(crate) fn run(server: &Server, plan: Plan) -> anyhow::Result<Paid> {
    let mut source = Sandbox::create(server, "code-interpreter-v1", LIFE_S)?;
    source.cell("mine = 0")?;
    // Each page another, so that nothing but a copy or a share of it is the same.
    source.cell(&format!(
        "import os, hashlib\nheap = bytearray(os.urandom({} << 20))\ntext = lambda: hashlib.sha256(heap).hexdigest()",
        plan.heap_mib
    ))?;
    let sum = source.cell("text()")?;
    source = source.over(server.connect()?.patient(PATIENCE)?);
    let began = Instant::now();
    let mut children = Vec::new();
    for first in (0..plan.forks).step_by(OF_ONE_CALL as usize) {
        let count = OF_ONE_CALL.min(plan.forks - first);
        let body = json!({ "count": count, "timeout": LIFE_S });
        let forks = source.steer("POST", "/fork", &body)?.json()?;
        children.extend(made(&forks, count)?);
    }
    let wall = began.elapsed();
    for (number, child) in (1..).zip(&children) {
        one(&mut child.enter(server)?, number, &sum).with_context(|| format!("fork {number}"))?;
    }
    let mut sizes = children.iter().map(|child| memory_of(&child.id)).collect::<anyhow::Result<Vec<_>>>()?;
    for (number, child) in (1..).zip(&children) {
        let seen = child.enter(server)?.cell("mine, heap[0], open('/home/user/mine').read()")?;
        anyhow::ensure!(seen == format!("({number}, {}, '{number}')", number % 256), "fork {number}: {seen}");
    }
    source = source.over(server.connect()?);
    anyhow::ensure!(source.cell("text()")? == sum, "the source's heap was changed");
    anyhow::ensure!(
        source.cell("mine, os.path.exists('/home/user/mine')")? == "(0, False)",
        "the source was changed"
    );
    let still = stood_still(&mut source)?;
    children.iter().try_for_each(|child| child.enter(server)?.kill())?;
    source.kill()?;
    sizes.sort_unstable();
    let (own_kib, shared_kib) = *sizes.get(sizes.len() / 2).context("no fork came about")?;
    Ok(Paid { still, wall, own_mib: own_kib / 1024, shared_mib: shared_kib / 1024 })
}

fn made(forks: &Value, wanted: u32) -> anyhow::Result<Vec<Child>> {
    let rows = forks.as_array().context("a fork answers a list")?;
    let made = rows.iter().map(|row| {
        let text =
            |name: &str| row["sandbox"][name].as_str().with_context(|| format!("a fork failed: {row}"));
        let (id, token) = (text("sandboxID")?, text("envdAccessToken")?);
        Ok(Child { id: id.to_owned(), token: token.to_owned() })
    });
    let made: Vec<_> = made.collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(made.len() == usize::try_from(wanted)?, "{} of {wanted} forks", made.len());
    Ok(made)
}

/// One of many, each visited over a connection of its own: an idle one is closed.
#[derive(Debug)]
struct Child {
    id: String,
    token: String,
}

impl Child {
    fn enter(&self, server: &Server) -> anyhow::Result<Sandbox> {
        Ok(Sandbox::known(server.connect()?, &server.api_key, &self.id, &self.token))
    }
}

/// It has what the source had, and makes something of its own of it.
fn one(child: &mut Sandbox, number: u32, sum: &str) -> anyhow::Result<()> {
    anyhow::ensure!(child.cell("text()")? == sum, "another heap");
    anyhow::ensure!(child.cell("mine")? == "0", "another variable");
    // The kernel's own environment is the source's: it is part of its memory.
    let id = child.cell("open('/run/e2b/.E2B_SANDBOX_ID').read().strip()")?;
    anyhow::ensure!(id == child.id, "it takes itself for {id} and is {}", child.id);
    let first = number % 256;
    child.cell(&format!(
        "mine = {number}; heap[0] = {first}; print(mine, file=open('/home/user/mine', 'w'), end='')"
    ))?;
    Ok(())
}

/// Memory of all processes of a sandbox in KiB: its own, and what others map too.
fn memory_of(sandbox_id: &str) -> anyhow::Result<(u64, u64)> {
    let mut sizes = (0, 0);
    for pid in processes(sandbox_id).context("find the sandbox's processes: is the server on this host?")? {
        // A process that ended meanwhile has none.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(kib)) =
                (words.next(), words.next().and_then(|kib| kib.parse::<u64>().ok()))
            else {
                continue;
            };
            match name {
                "Private_Clean:" | "Private_Dirty:" => sizes.0 += kib,
                "Shared_Clean:" | "Shared_Dirty:" => sizes.1 += kib,
                _ => {}
            }
        }
    }
    Ok(sizes)
}

/// Those in its control group, one below that of its server, and in groups below.
fn processes(sandbox_id: &str) -> Option<Vec<String>> {
    let roots = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
    let group = roots.into_iter().find_map(|root| {
        let servers = fs::read_dir(root).ok()?.flatten();
        servers.map(|server| server.path().join(sandbox_id)).find(|dir| dir.join("cgroup.procs").exists())
    })?;
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = vec![group];
    while let Some(dir) = dirs.pop() {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().map(str::to_owned));
        let below = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        dirs.extend(below.filter(|path| path.is_dir()));
    }
    Some(found)
}

/// As the server tells in the source's log.
fn stood_still(source: &mut Sandbox) -> anyhow::Result<Duration> {
    let told = source.steer("GET", "/logs", &json!({}))?.json()?;
    let entries = told["logEntries"].as_array().into_iter().flatten();
    let longest = entries.filter_map(|entry| entry["fields"]["frozen_us"].as_str()?.parse().ok()).max();
    longest.map(Duration::from_micros).context("the log tells how long it stood still")
}

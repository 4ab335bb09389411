//! Whether machines can be written down with their memory here, found out by doing
//! it: what a tool says of itself has been wrong before.
//!
//! ```text
//! boot one ── ask ── write it down, it goes on ── ask ── bring another back ── ask ── remove both
//! ```
//!
//! The first process is to answer each asker of a port with a line `<name> <count>`:
//! a name that it drew at its start, and a number that grows. So an answer tells
//! whether a machine is the one that was written down, and as of which moment.
//!
//! Everything that a trial makes has names of its own and lies in one directory,
//! which is made first and removed last: where it stands, a trial was cut off, and
//! [`Trial::sweep`] clears away after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{ByteSize, Resources, SandboxId, Slot};
use tokio::io::AsyncReadExt as _;

use crate::backend::chain;
use crate::namespaces::{self, CgroupError};
use crate::{Backend, CheckpointTo, ErrorKind, Machine, MachineSpec, Then};

/// A trial that takes longer has failed: a tool that hangs must not keep anybody waiting.
const LIMIT: Duration = Duration::from_secs(45);
/// How long a machine may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two attempts to be answered.
const LOOK: Duration = Duration::from_millis(5);
/// The longest line that is read of a machine.
const LINE: u64 = 128;

/// Whose machines these are; no sandbox of a client is called so.
const NAMES: [&str; 2] = ["itrialfirst", "itrialsecond"];
/// What each may use.
pub const RESOURCES: Resources =
    Resources { cpu_count: 1, memory: ByteSize::mib(128), disk: ByteSize::mib(64) };
/// Where a root needs directories: the kernel's file systems are mounted there.
const MOUNT_POINTS: [&str; 7] = ["proc", "sys", "dev", "run", "etc", "tmp", "root"];
/// In the directory: which slots were taken.
const SLOTS: &str = "slots";

/// A trial that is to be.
#[derive(Debug, Clone)]
pub struct Trial {
    /// A directory of its own on the state file system; made, and removed.
    pub dir: PathBuf,
    /// The layer with the program.
    pub program: PathBuf,
    /// The program with its arguments, by its path within the layer.
    pub command: Vec<String>,
    /// Where it answers.
    pub port: u16,
    /// Two slots that nobody has.
    pub slots: [Slot; 2],
}

/// It works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// From the beginning to the end, both machines removed.
    pub took: Duration,
    /// How long the first stood still.
    pub frozen: Duration,
    /// How long the second took to be back.
    pub restored_in: Duration,
    /// What the memory took on disk.
    pub memory: ByteSize,
}

/// What a trial was at when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Making a machine and hearing of it: no matter of checkpoints.
    Start,
    /// Writing it down.
    Write,
    /// Hearing that it went on.
    GoOn,
    /// Bringing it back.
    Restore,
    /// Hearing that what came back is what was written down.
    Recall,
    /// Removing everything.
    Remove,
}

impl Act {
    fn words(self) -> &'static str {
        match self {
            Self::Start => "start a machine",
            Self::Write => "write a machine down",
            Self::GoOn => "let a machine go on after it was written down",
            Self::Restore => "bring a machine back",
            Self::Recall => "find in a machine that came back what was written down",
            Self::Remove => "remove the machines of the trial",
        }
    }
}

/// It does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it was not possible to {}: {reason}", act.words())]
pub struct Failed {
    /// At what.
    pub act: Act,
    /// Why, in one line; the checkpoint tool's own words where it has some.
    pub reason: String,
    /// Whether it may well go otherwise at another time: it took too long, or the
    /// host had no room.
    pub passing: bool,
}

impl Failed {
    /// Whether this says that machines cannot be written down and brought back here.
    pub fn disproves(&self) -> bool {
        !self.passing && matches!(self.act, Act::Write | Act::GoOn | Act::Restore | Act::Recall)
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        let of_connections = ["tcp", "TCP", "inet", "socket"].iter().any(|word| self.reason.contains(word));
        match self.act {
            _ if self.passing => "try again when this host has less to do, or more room",
            Act::Write if of_connections => {
                "this CRIU cannot write connections down on this kernel: take 4.2.1 or newer, and name it in node.criu"
            }
            Act::Write | Act::GoOn | Act::Restore | Act::Recall => {
                "pauses keep files only; try a newer CRIU, and name it in node.criu"
            }
            Act::Start => "no machine starts at all: see what else is missing",
            Act::Remove => "end what holds it, and try again: the next trial removes what is left",
        }
    }
}

impl Act {
    fn failed(self, error: &(dyn std::error::Error + 'static)) -> Failed {
        let Some(step) = error.downcast_ref::<crate::Error>() else {
            return Failed { act: self, reason: chain(error), passing: false };
        };
        // Whose machine it was says nothing to anybody.
        let reason = format!("{}: {}", step.step, chain(&*step.source));
        Failed { act: self, reason, passing: step.kind == ErrorKind::Exhausted }
    }
}

/// What a machine said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    name: String,
    count: u64,
}

impl Trial {
    /// Tries, and removes everything, whatever comes of it. Dropping the future
    /// leaves the rest to [`Self::sweep`].
    pub async fn run(&self, backend: &dyn Backend) -> Result<Passed, Failed> {
        let began = Instant::now();
        let tried = tokio::time::timeout(LIMIT, self.carry_out(backend)).await;
        let tried = tried.unwrap_or_else(|_| {
            Err(Failed { act: Act::Write, reason: format!("nothing came of it in {LIMIT:?}"), passing: true })
        });
        let swept = self.sweep(backend).await;
        let passed = tried?;
        swept.map_err(|error| Act::Remove.failed(&error))?;
        Ok(Passed { took: began.elapsed(), ..passed })
    }

    /// The trial that was cut off and left `dir`, with `self` telling the rest.
    pub fn left(self) -> Option<Self> {
        if !self.dir.exists() {
            return None;
        }
        // Without its slots nothing was made yet but the directory.
        let slots = fs::read_to_string(self.dir.join(SLOTS)).ok().and_then(|text| read_slots(&text));
        Some(Self { slots: slots.unwrap_or(self.slots), ..self })
    }

    /// Removes everything that a trial made, or any part of it. Safe twice.
    pub async fn sweep(&self, backend: &dyn Backend) -> Result<(), io::Error> {
        for spec in self.specs() {
            // Who was found is told to end; who was not, the undo ends.
            if let Ok(Some(machine)) = backend.adopt(&spec).await {
                machine.kill().await.map_err(io::Error::other)?;
            }
            backend.unreserve(&spec).await.map_err(io::Error::other)?;
            backend.unprepare(&spec).await.map_err(io::Error::other)?;
        }
        backend.remove_layer(&self.layer()).await?;
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    async fn carry_out(&self, backend: &dyn Backend) -> Result<Passed, Failed> {
        let [first, second] = self.specs();
        self.furnish().map_err(|e| Act::Start.failed(&e))?;
        let machine = start(backend, &first).await.map_err(|e| Act::Start.failed(&e))?;
        let born = self.ask(&machine).await.map_err(|e| Act::Start.failed(&e))?;
        machine.settle().await.map_err(|e| Act::Start.failed(&e))?;

        let (layer, memory) = (self.layer(), self.dir.join("memory"));
        let to = CheckpointTo { layer: &layer, memory: Some(&memory) };
        let written = backend.checkpoint(&first, &machine, to, Then::Continue).await;
        let written = written.map_err(|e| Act::Write.failed(&e))?;
        let after = self.ask(&machine).await.map_err(|e| Act::GoOn.failed(&e))?;
        born.is_followed_by(&after).map_err(|e| Act::GoOn.failed(&e))?;

        let began = Instant::now();
        let restored = restore(backend, &second, &layer, &memory).await;
        let restored = restored.map_err(|e| Act::Restore.failed(&e))?;
        let restored_in = began.elapsed();
        let recalled = self.ask(&restored).await.map_err(|e| Act::Recall.failed(&e))?;
        born.is_followed_by(&recalled).map_err(|e| Act::Recall.failed(&e))?;
        let memory = written.memory_bytes;
        Ok(Passed { took: Duration::ZERO, frozen: written.frozen, restored_in, memory })
    }

    /// The directory, the slots in it before anything stands on them, and an empty root.
    fn furnish(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().mode(0o700).create(&self.dir)?;
        let [first, second] = self.slots;
        fs::write(self.dir.join(SLOTS), format!("{} {}\n", first.0, second.0))?;
        for spec in self.specs() {
            fs::create_dir(&spec.dir)?;
        }
        let root = self.root();
        for point in MOUNT_POINTS {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(root.join(point))?;
        }
        Ok(())
    }

    async fn ask(&self, machine: &Arc<dyn Machine>) -> io::Result<Answer> {
        let dialer = machine.dialer();
        let mut reason = None;
        let asking = async {
            loop {
                match self.ask_once(&*dialer).await {
                    Ok(answer) => return answer,
                    Err(error) => reason = Some(error),
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let answer = tokio::select! {
            answer = tokio::time::timeout(ANSWER, asking) => answer.ok(),
            _ = machine.exited() => return Err(io::Error::other("it ended")),
        };
        let silent = || reason.unwrap_or_else(|| io::Error::other("it does not answer"));
        answer.ok_or_else(silent)
    }

    async fn ask_once(&self, dialer: &dyn crate::Dial) -> io::Result<Answer> {
        let stream = dialer.dial(self.port).await.map_err(io::Error::other)?;
        let mut line = String::new();
        stream.take(LINE).read_to_string(&mut line).await?;
        Answer::read(&line).ok_or_else(|| io::Error::other(format!("it says {line:?}")))
    }

    fn specs(&self) -> [MachineSpec; 2] {
        let of = |sandbox_id: SandboxId, slot| MachineSpec {
            slot,
            layers: vec![self.program.clone(), self.root()],
            dir: self.dir.join(sandbox_id.as_str()),
            sandbox_id,
            resources: RESOURCES,
            hostname: "trial".to_owned(),
            command: self.command.clone(),
            env: Vec::new(),
        };
        let [first, second] = machine_ids();
        [of(first, self.slots[0]), of(second, self.slots[1])]
    }

    fn root(&self) -> PathBuf {
        self.dir.join("empty")
    }

    fn layer(&self) -> PathBuf {
        self.dir.join("layer")
    }
}

async fn start(backend: &dyn Backend, spec: &MachineSpec) -> Result<Arc<dyn Machine>, crate::Error> {
    backend.reserve(spec).await?;
    backend.prepare(spec).await?;
    backend.boot(spec).await
}

async fn restore(
    backend: &dyn Backend,
    spec: &MachineSpec,
    layer: &Path,
    memory: &Path,
) -> Result<Arc<dyn Machine>, crate::Error> {
    backend.reserve(spec).await?;
    backend.prepare_from(spec, layer).await?;
    backend.restore(spec, memory).await
}

impl Answer {
    fn read(line: &str) -> Option<Self> {
        let (name, count) = line.strip_suffix('\n')?.rsplit_once(' ')?;
        Some(Self { name: name.to_owned(), count: count.parse().ok()? })
    }

    /// Whether `next` is the answer of the same program to a later asker. Others
    /// between them were cut off before they were answered.
    fn is_followed_by(&self, next: &Self) -> io::Result<()> {
        if next.name == self.name && next.count > self.count {
            return Ok(());
        }
        let said = format!("after {} {} it says {} {}", self.name, self.count, next.name, next.count);
        Err(io::Error::other(said))
    }
}

fn read_slots(text: &str) -> Option<[Slot; 2]> {
    let (first, second) = text.trim().split_once(' ')?;
    Some([Slot(first.parse().ok()?), Slot(second.parse().ok()?)])
}

/// Ends the machines of a trial that was cut off, where nothing else is known of it
/// but in which subtree of control groups; removes that, too. Blocks.
pub fn end_machines(cgroup_name: &str) -> Result<(), CgroupError> {
    namespaces::end_machines(cgroup_name, &machine_ids())
}

fn machine_ids() -> [SandboxId; 2] {
    NAMES.map(|name| name.parse().expect("it is lower-case letters"))
}

/// Leaves the host's mounts and network: what this process and those that it starts
/// mount and plug in from now on goes with them, however they end. To be called
/// while there is a single thread.
pub fn part_from_host() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags;
    sys::namespace::new_mount_namespace()?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    sys::namespace::new_network_namespace()?;
    // As every host has it; the checkpoint tool tries the kernel out on it.
    sys::netlink::set_link_up(LOOPBACK).map_err(io::Error::other)
}

/// Its index in every network namespace.
const LOOPBACK: u32 = 1;

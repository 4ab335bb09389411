//! Limits and accounts of machines, on either version of control groups.
//!
//! A machine has a group of its own below `warren/`, beside and not below the
//! server's, so that a service manager that restarts the server leaves it alone.
//! Its memory is split: `user` holds everything at first; the daemon moves to
//! `daemon` once it has settled, and `user` can never take the last `reserve`,
//! so that it is user processes that die of want of memory. Processors are split
//! likewise: however many processes want them, the daemon has its turns.

mod cpus;
mod file;
mod freezer;
mod v1;
mod v2;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::{ByteSize, Resources, SandboxId, Slot};
use rustix::process::{Pid, Signal};

use crate::Usage;

/// A fork bomb ends here.
const MOST_PROCESSES: u32 = 4096;

/// How long killed processes may take to be gone. They are reaped by the kernel,
/// so only a stuck disk makes this long.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// How long processes may take to stand still; only a stuck disk makes this long.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);

/// A step on a control group failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of a group refused.
    #[error("{act} {}", path.display())]
    File {
        /// The act in words.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The host has no hierarchy that can limit this.
    #[error(
        "no control group hierarchy offers {0}; mount one, or boot with systemd.unified_cgroup_hierarchy=1"
    )]
    Missing(&'static str),
    /// Processes did not stand still.
    #[error("processes of {} do not stand still", .0.display())]
    Restless(PathBuf),
    /// Processes did not end.
    #[error("processes of {} do not end", .0.display())]
    Immortal(PathBuf),
}

/// The subtree of this server's machines.
#[derive(Debug)]
pub(super) struct Cgroups {
    layout: Layout,
    cpus: Vec<u32>,
}

#[derive(Debug)]
enum Layout {
    V1(v1::Hierarchies),
    V2(v2::Subtree),
}

/// The numbers that go into the files of one machine.
#[derive(Debug)]
struct Limits {
    memory: ByteSize,
    user_memory: ByteSize,
    quota_micros: u64,
    cpu_list: String,
}

/// Length of a scheduling period; the quota counts in it.
const PERIOD_MICROS: u64 = 100_000;

impl Cgroups {
    /// Finds what the host has and makes the subtree `name` in it.
    pub(super) fn open(name: &str) -> Result<Self, Error> {
        let mounts = file::mounts()?;
        let layout = match v2::Subtree::open(&mounts, name)? {
            Some(subtree) => Layout::V2(subtree),
            None => Layout::V1(v1::Hierarchies::open(&mounts, name)?),
        };
        let cpus = match &layout {
            Layout::V1(hierarchies) => hierarchies.cpus()?,
            Layout::V2(subtree) => subtree.cpus()?,
        };
        Ok(Self { layout, cpus })
    }

    /// How many processors a machine can be given at most.
    pub(super) fn cpu_count(&self) -> u32 {
        u32::try_from(self.cpus.len()).unwrap_or(u32::MAX)
    }

    /// Which version, for people.
    pub(super) fn describe(&self) -> &'static str {
        match &self.layout {
            Layout::V1(_) => "version 1 hierarchies",
            Layout::V2(_) => "the version 2 hierarchy",
        }
    }

    /// Makes a machine's groups with their limits. Safe twice.
    pub(super) fn create(&self, id: &SandboxId, slot: Slot, resources: Resources) -> Result<(), Error> {
        let limits = self.limits(slot, resources);
        match &self.layout {
            Layout::V1(hierarchies) => hierarchies.create(id.as_str(), &limits),
            Layout::V2(subtree) => subtree.create(id.as_str(), &limits),
        }
    }

    fn limits(&self, slot: Slot, resources: Resources) -> Limits {
        let n = resources.cpu_count.min(self.cpu_count());
        Limits {
            memory: resources.memory,
            user_memory: ByteSize::bytes(resources.memory.as_u64() - reserve(resources.memory).as_u64()),
            quota_micros: u64::from(n) * PERIOD_MICROS,
            cpu_list: cpus::choose(&self.cpus, n, slot.0),
        }
    }

    /// The group to be born in, where the kernel can do that.
    pub(super) fn birthplace(&self, id: &SandboxId) -> Result<Option<OwnedFd>, Error> {
        match &self.layout {
            Layout::V1(hierarchies) => hierarchies.birthplace(id.as_str()),
            Layout::V2(subtree) => subtree.birthplace(id.as_str()).map(Some),
        }
    }

    /// Moves a newborn into the groups it was not born in. On version 1 the
    /// first write after a pause waits some milliseconds for the kernel.
    pub(super) fn enter(&self, id: &SandboxId, pid: Pid) -> Result<(), Error> {
        match &self.layout {
            Layout::V1(hierarchies) => hierarchies.enter(id.as_str(), pid),
            Layout::V2(_) => Ok(()),
        }
    }

    /// Lets the kernel get ready for [`Self::enter`] while other work goes on.
    pub(super) fn warm_up(&self) {
        if let Layout::V1(hierarchies) = &self.layout {
            hierarchies.warm_up();
        }
    }

    /// Moves the first process, alone, to the group with the reserve.
    pub(super) fn settle(&self, id: &SandboxId, pid: Pid) -> Result<(), Error> {
        self.move_to("daemon", id, pid)?;
        match &self.layout {
            Layout::V1(hierarchies) => hierarchies.settle(id.as_str(), pid),
            Layout::V2(_) => Ok(()),
        }
    }

    /// Moves the first process back to the others.
    pub(super) fn unsettle(&self, id: &SandboxId, pid: Pid) -> Result<(), Error> {
        self.move_to("user", id, pid)?;
        match &self.layout {
            Layout::V1(hierarchies) => hierarchies.unsettle(id.as_str(), pid),
            Layout::V2(_) => Ok(()),
        }
    }

    /// Of memory; on version 2 of processors with it.
    fn move_to(&self, part: &str, id: &SandboxId, pid: Pid) -> Result<(), Error> {
        let dir = self.memory_dir(id).join(part);
        file::write(&dir.join("cgroup.procs"), &pid.as_raw_pid().to_string())
    }

    /// Moves a process that was born elsewhere into a machine's groups.
    pub(super) fn admit(&self, id: &SandboxId, pid: Pid) -> Result<(), Error> {
        match &self.layout {
            Layout::V1(hierarchies) => hierarchies.admit(id.as_str(), pid),
            Layout::V2(_) => self.unsettle(id, pid),
        }
    }

    /// Every process inside.
    pub(super) fn processes(&self, id: &SandboxId) -> Result<Vec<Pid>, Error> {
        let dir = self.memory_dir(id);
        let mut all = Vec::new();
        for part in ["user", "daemon"] {
            all.extend(file::processes(&dir.join(part))?);
        }
        Ok(all)
    }

    /// Ends every process inside; returns when none is left. Blocks.
    pub(super) fn kill(&self, id: &SandboxId) -> Result<(), Error> {
        let give_up = Instant::now() + DEATH_LIMIT;
        let mut is_thawed = false;
        loop {
            let left = self.processes(id)?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > give_up {
                return Err(Error::Immortal(self.memory_dir(id)));
            }
            for pid in left {
                // A pid that ended since belongs to nobody: ids are not reused that fast.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            if !std::mem::replace(&mut is_thawed, true) {
                // On version 1 what stands still does not even die.
                self.thaw(id)?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets every process inside stand still, or go on; returns when all do. Blocks.
    /// When they do not come to rest in time they go on, and it is an error.
    pub(super) fn freeze(&self, id: &SandboxId) -> Result<(), Error> {
        let freezer = self.freezer(id)?;
        let give_up = Instant::now() + FREEZE_LIMIT;
        freezer.order(true)?;
        let frozen = loop {
            match freezer.is_frozen() {
                Ok(false) if Instant::now() <= give_up => std::thread::sleep(Duration::from_micros(200)),
                Ok(false) => break Err(Error::Restless(freezer.dir.clone())),
                Ok(true) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        if frozen.is_err() {
            freezer.order(false)?;
        }
        frozen
    }

    /// Undoes [`Self::freeze`]. Safe twice, and when the machine is gone.
    pub(super) fn thaw(&self, id: &SandboxId) -> Result<(), Error> {
        let freezer = self.freezer(id)?;
        if freezer.dir.exists() { freezer.order(false) } else { Ok(()) }
    }

    fn freezer(&self, id: &SandboxId) -> Result<freezer::Freezer, Error> {
        match &self.layout {
            Layout::V1(hierarchies) => hierarchies.freezer(id.as_str()),
            Layout::V2(subtree) => Ok(freezer::Freezer { dir: subtree.dir(id.as_str()), version: 2 }),
        }
    }

    /// Removes a machine's groups. Nothing may run in them. Safe twice. Blocks.
    pub(super) fn remove(&self, id: &SandboxId) -> Result<(), Error> {
        let dirs = match &self.layout {
            Layout::V1(hierarchies) => hierarchies.dirs(id.as_str()),
            Layout::V2(subtree) => subtree.dirs(id.as_str()),
        };
        let give_up = Instant::now() + DEATH_LIMIT;
        dirs.iter().try_for_each(|dir| file::remove_dir(dir, give_up))
    }

    /// Whether the kernel ended a process for want of memory where the first
    /// process stands: alone once it has settled, among the others before.
    pub(super) fn first_process_starved(&self, id: &SandboxId, settled: bool) -> bool {
        self.oom_kills(&self.memory_dir(id).join(if settled { "daemon" } else { "user" })) > 0
    }

    /// Whether the first process has settled; for machines of an earlier server.
    pub(super) fn has_settled(&self, id: &SandboxId, pid: Pid) -> Result<bool, Error> {
        Ok(file::processes(&self.memory_dir(id).join("daemon"))?.contains(&pid))
    }

    fn oom_kills(&self, dir: &Path) -> u64 {
        match &self.layout {
            Layout::V1(_) => file::field(&dir.join("memory.oom_control"), "oom_kill"),
            Layout::V2(_) => file::field(&dir.join("memory.events.local"), "oom_kill"),
        }
        .unwrap_or(0)
    }

    /// Reads what a machine uses; its disk is somebody else's to know.
    pub(super) fn usage(&self, id: &SandboxId) -> Result<Usage, Error> {
        let dir = self.memory_dir(id);
        let usage = match &self.layout {
            Layout::V1(hierarchies) => hierarchies.usage(id.as_str())?,
            Layout::V2(subtree) => subtree.usage(id.as_str())?,
        };
        let oom_kills = self.oom_kills(&dir.join("user")) + self.oom_kills(&dir.join("daemon"));
        Ok(Usage { oom_kills, ..usage })
    }

    fn memory_dir(&self, id: &SandboxId) -> PathBuf {
        match &self.layout {
            Layout::V1(hierarchies) => hierarchies.memory_dir(id.as_str()),
            Layout::V2(subtree) => subtree.dir(id.as_str()),
        }
    }
}

/// An empty subtree goes with its server; one with machines stays for the next.
impl Drop for Cgroups {
    fn drop(&mut self) {
        let roots = match &self.layout {
            Layout::V1(hierarchies) => hierarchies.roots(),
            Layout::V2(subtree) => vec![subtree.root()],
        };
        for root in roots {
            // Machines in it refuse this.
            let _ = std::fs::remove_dir(root);
        }
    }
}

/// What only the daemon may use: an eighth, between 16 and 128 MiB.
fn reserve(memory: ByteSize) -> ByteSize {
    ByteSize::bytes((memory.as_u64() / 8).clamp(16 << 20, 128 << 20))
}

//! Version 1: a tree for each controller; version 2's, if it is mounted beside
//! them, only gathers the processes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use model::ByteSize;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::file::{self, Mount, ensure_dir, write};
use super::freezer::Freezer;
use super::{Error, Limits, MOST_PROCESSES, PERIOD_MICROS, cpus};
use crate::Usage;

/// The most that a group can have; each process beside it counts 1,024.
const MOST_SHARES: &str = "262144";

/// Our directory in each tree. Controllers that share a tree share the path.
#[derive(Debug)]
pub(super) struct Hierarchies {
    cpu: PathBuf,
    cpuacct: PathBuf,
    cpuset: PathBuf,
    memory: PathBuf,
    pids: PathBuf,
    unified: Option<PathBuf>,
    /// Only where version 2, which can do the same, is not mounted.
    freezer: Option<PathBuf>,
}

impl Hierarchies {
    pub(super) fn open(mounts: &[Mount], name: &str) -> Result<Self, Error> {
        let find = |controller: &'static str| {
            let holds = |m: &&Mount| m.version == 1 && m.options.iter().any(|o| o == controller);
            let mount = mounts.iter().find(holds).ok_or(Error::Missing(controller))?;
            let dir = mount.path.join(name);
            ensure_dir(&dir)?;
            Ok(dir)
        };
        let freezer = if mounts.iter().any(|m| m.version == 2) { None } else { find("freezer").ok() };
        let unified = mounts.iter().find(|m| m.version == 2).map(|m| m.path.join(name));
        let this = Self {
            cpu: find("cpu")?,
            cpuacct: find("cpuacct")?,
            cpuset: find("cpuset")?,
            memory: find("memory")?,
            pids: find("pids")?,
            unified: unified.filter(|dir| ensure_dir(dir).is_ok()),
            freezer,
        };
        inherit_cpuset(&this.cpuset)?;
        Ok(this)
    }

    pub(super) fn cpus(&self) -> Result<Vec<u32>, Error> {
        Ok(cpus::parse(&file::read(&self.cpuset.join("cpuset.cpus"))?))
    }

    /// Our directory in each tree; a path that several share comes more than once.
    pub(super) fn roots(&self) -> Vec<&Path> {
        let own = [&self.cpu, &self.cpuacct, &self.cpuset, &self.memory, &self.pids];
        own.into_iter().chain(&self.unified).chain(&self.freezer).map(PathBuf::as_path).collect()
    }

    pub(super) fn memory_dir(&self, id: &str) -> PathBuf {
        self.memory.join(id)
    }

    pub(super) fn create(&self, id: &str, limits: &Limits) -> Result<(), Error> {
        for dir in self.dirs(id).iter().rev() {
            ensure_dir(dir)?;
        }
        let memory = self.memory.join(id);
        write_memory(&memory, limits.memory)?;
        write_memory(&memory.join("user"), limits.user_memory)?;
        for part in ["user", "daemon"] {
            limit_sockets(&memory.join(part), limits.memory)?;
        }
        let cpu = self.cpu.join(id);
        write(&cpu.join("cpu.cfs_period_us"), &PERIOD_MICROS.to_string())?;
        write(&cpu.join("cpu.cfs_quota_us"), &limits.quota_micros.to_string())?;
        let cpuset = self.cpuset.join(id);
        write(&cpuset.join("cpuset.cpus"), &limits.cpu_list)?;
        write(&cpuset.join("cpuset.mems"), file::read(&self.cpuset.join("cpuset.mems"))?.trim())?;
        write(&self.pids.join(id).join("pids.max"), &MOST_PROCESSES.to_string())
    }

    /// Every directory of a machine, children before parents.
    pub(super) fn dirs(&self, id: &str) -> Vec<PathBuf> {
        let memory = self.memory.join(id);
        let mut dirs = vec![memory.join("user"), memory.join("daemon"), memory];
        if self.cpu != self.memory {
            dirs.push(self.cpu_of_daemon(id));
        }
        let single = [&self.cpu, &self.cpuacct, &self.cpuset, &self.pids];
        for dir in single.into_iter().chain(&self.unified).chain(&self.freezer).map(|tree| tree.join(id)) {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        dirs
    }

    fn cpu_of_daemon(&self, id: &str) -> PathBuf {
        self.cpu.join(id).join("daemon")
    }

    /// Moves the first process to the group that stands beside all other processes
    /// of the machine together; version 2 has one for memory and processors.
    pub(super) fn settle(&self, id: &str, pid: Pid) -> Result<(), Error> {
        let dir = self.cpu_of_daemon(id);
        // A machine of an earlier server has none yet.
        ensure_dir(&dir)?;
        write(&dir.join("cpu.shares"), MOST_SHARES)?;
        write(&dir.join("cgroup.procs"), &pid.as_raw_pid().to_string())
    }

    /// Undoes [`Self::settle`].
    pub(super) fn unsettle(&self, id: &str, pid: Pid) -> Result<(), Error> {
        if self.cpu == self.memory {
            return Ok(());
        }
        write(&self.cpu.join(id).join("cgroup.procs"), &pid.as_raw_pid().to_string())
    }

    pub(super) fn birthplace(&self, id: &str) -> Result<Option<OwnedFd>, Error> {
        self.unified.as_ref().map(|tree| open_dir(&tree.join(id))).transpose()
    }

    pub(super) fn enter(&self, id: &str, pid: Pid) -> Result<(), Error> {
        let pid = pid.as_raw_pid().to_string();
        let mut entered: Vec<PathBuf> = Vec::with_capacity(5);
        let memory = self.memory.join(id).join("user");
        // Memory first: what the process touches from now on is counted.
        let others = [&self.cpuset, &self.cpu, &self.cpuacct, &self.pids].map(|tree| tree.join(id));
        let freezer = self.freezer.iter().map(|tree| tree.join(id));
        for dir in std::iter::once(memory).chain(others).chain(freezer) {
            if !entered.contains(&dir) {
                write(&dir.join("cgroup.procs"), &pid)?;
                entered.push(dir);
            }
        }
        Ok(())
    }

    pub(super) fn admit(&self, id: &str, pid: Pid) -> Result<(), Error> {
        if let Some(tree) = &self.unified {
            write(&tree.join(id).join("cgroup.procs"), &pid.as_raw_pid().to_string())?;
        }
        self.enter(id, pid)
    }

    pub(super) fn freezer(&self, id: &str) -> Result<Freezer, Error> {
        match (&self.unified, &self.freezer) {
            (Some(tree), _) => Ok(Freezer { dir: tree.join(id), version: 2 }),
            (None, Some(tree)) => Ok(Freezer { dir: tree.join(id), version: 1 }),
            (None, None) => Err(Error::Missing("freezer")),
        }
    }

    /// A migration takes a lock whose first taking after a pause waits for an
    /// RCU grace period. Writing ourselves into the group where we are takes it
    /// without moving anything.
    pub(super) fn warm_up(&self) {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let here = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|c| c == "pids").then(|| path.trim_start_matches('/').to_owned())
        });
        if let (Some(here), Some(tree)) = (here, self.pids.parent()) {
            // Only a hint; the machine's own write will do the waiting otherwise.
            let _ = std::fs::write(tree.join(here).join("cgroup.procs"), std::process::id().to_string());
        }
    }

    pub(super) fn usage(&self, id: &str) -> Result<Usage, Error> {
        let memory = self.memory.join(id);
        Ok(Usage {
            cpu_micros: file::number(&self.cpuacct.join(id).join("cpuacct.usage"))? / 1000,
            memory: ByteSize::bytes(file::number(&memory.join("memory.usage_in_bytes"))?),
            memory_cache: ByteSize::bytes(
                file::field(&memory.join("memory.stat"), "total_cache").unwrap_or(0),
            ),
            memory_peak: ByteSize::bytes(file::number(&memory.join("memory.max_usage_in_bytes"))?),
            ..Usage::default()
        })
    }
}

/// Sets the limit of memory, and of memory and swap together where it is counted.
fn write_memory(dir: &Path, limit: ByteSize) -> Result<(), Error> {
    let limit = limit.as_u64().to_string();
    write(&dir.join("memory.limit_in_bytes"), &limit)?;
    let with_swap = dir.join("memory.memsw.limit_in_bytes");
    if with_swap.exists() { write(&with_swap, &limit) } else { Ok(()) }
}

/// Version 1 counts the buffers of sockets apart from other memory, and not at
/// all without a limit: they get a quarter of their own. (Some kernels lack it.)
fn limit_sockets(dir: &Path, memory: ByteSize) -> Result<(), Error> {
    let path = dir.join("memory.kmem.tcp.limit_in_bytes");
    if path.exists() { write(&path, &(memory.as_u64() / 4).to_string()) } else { Ok(()) }
}

/// A new group of this controller has no processors and no memory nodes.
fn inherit_cpuset(dir: &Path) -> Result<(), Error> {
    let parent = dir.parent().expect("it was made below a mount");
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if file::read(&dir.join(name))?.trim().is_empty() {
            write(&dir.join(name), file::read(&parent.join(name))?.trim())?;
        }
    }
    Ok(())
}

pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::File {
        act: "opening",
        path: path.to_owned(),
        source: e.into(),
    })
}

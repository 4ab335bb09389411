//! Version 2: one tree with every controller, in which machines are born.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use model::ByteSize;

use super::file::{self, Mount, ensure_dir, write};
use super::{Error, Limits, MOST_PROCESSES, PERIOD_MICROS, cpus, v1};
use crate::Usage;

const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Our directory in the tree.
#[derive(Debug)]
pub(super) struct Subtree {
    dir: PathBuf,
}

impl Subtree {
    /// `None` when the host's controllers are not in version 2.
    pub(super) fn open(mounts: &[Mount], name: &str) -> Result<Option<Self>, Error> {
        let Some(mount) = mounts.iter().find(|m| m.version == 2) else { return Ok(None) };
        if !has_controllers(&mount.path)? {
            return Ok(None);
        }
        let dir = mount.path.join(name);
        enable(&mount.path)?;
        ensure_dir(&dir)?;
        enable(&dir)?;
        Ok(Some(Self { dir }))
    }

    pub(super) fn cpus(&self) -> Result<Vec<u32>, Error> {
        Ok(cpus::parse(&file::read(&self.dir.join("cpuset.cpus.effective"))?))
    }

    pub(super) fn root(&self) -> &Path {
        &self.dir
    }

    pub(super) fn dir(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// Every directory of a machine, children before parents.
    pub(super) fn dirs(&self, id: &str) -> Vec<PathBuf> {
        let dir = self.dir(id);
        vec![dir.join("user"), dir.join("daemon"), dir]
    }

    pub(super) fn create(&self, id: &str, limits: &Limits) -> Result<(), Error> {
        let dir = self.dir(id);
        ensure_dir(&dir)?;
        enable(&dir)?;
        let swap = dir.join("memory.swap.max");
        if swap.exists() {
            write(&swap, "0")?;
        }
        write(&dir.join("memory.max"), &limits.memory.as_u64().to_string())?;
        write(&dir.join("cpu.max"), &format!("{} {PERIOD_MICROS}", limits.quota_micros))?;
        write(&dir.join("cpuset.cpus"), &limits.cpu_list)?;
        write(&dir.join("pids.max"), &MOST_PROCESSES.to_string())?;
        ensure_dir(&dir.join("daemon"))?;
        ensure_dir(&dir.join("user"))?;
        write(&dir.join("user/memory.max"), &limits.user_memory.as_u64().to_string())
    }

    pub(super) fn birthplace(&self, id: &str) -> Result<OwnedFd, Error> {
        v1::open_dir(&self.dir(id).join("user"))
    }

    pub(super) fn usage(&self, id: &str) -> Result<Usage, Error> {
        let dir = self.dir(id);
        let memory = ByteSize::bytes(file::number(&dir.join("memory.current"))?);
        // `memory.peak` came with Linux 5.19.
        let peak = file::number(&dir.join("memory.peak")).map_or(memory, ByteSize::bytes);
        Ok(Usage {
            cpu_micros: file::field(&dir.join("cpu.stat"), "usage_usec").unwrap_or(0),
            memory,
            memory_cache: ByteSize::bytes(file::field(&dir.join("memory.stat"), "file").unwrap_or(0)),
            memory_peak: peak,
            ..Usage::default()
        })
    }
}

fn has_controllers(dir: &Path) -> Result<bool, Error> {
    let have = file::read(&dir.join("cgroup.controllers"))?;
    Ok(CONTROLLERS.iter().all(|c| have.split_whitespace().any(|h| h == *c)))
}

/// Gives the controllers on to the groups below.
fn enable(dir: &Path) -> Result<(), Error> {
    let path = dir.join("cgroup.subtree_control");
    let on = file::read(&path)?;
    let missing: Vec<String> = CONTROLLERS
        .iter()
        .filter(|c| !on.split_whitespace().any(|o| o == **c))
        .map(|c| format!("+{c}"))
        .collect();
    if missing.is_empty() { Ok(()) } else { write(&path, &missing.join(" ")) }
}

//! What a generation says of itself. Written last, before it gets its name: a
//! generation without a manifest does not exist.

use std::path::{Path, PathBuf};

use model::{GenerationId, Timestamp};
use runtime::manifest::{Manifest as Sums, Stamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Keep;
use crate::disk;
use crate::record::Record;
use crate::template::Template;

/// The version that this server writes and the newest that it reads.
const FORMAT: u32 = 1;
const FILE: &str = "manifest.json";
/// Its SHA-256, in hexadecimal; states of earlier servers have none.
const SUM: &str = "manifest.sha256";
/// Memories that share pages one with the next. Each may keep blocks on the disk of one
/// that is gone, as the file system frees only extents of which nothing is used.
const LONGEST_CHAIN: u32 = 8;

/// Everything that it takes to start a sandbox from a generation. Holds the
/// variables of its source, so only its owner may read it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    pub(crate) generation: String,
    /// Which sandbox it was taken of.
    pub(crate) source: String,
    pub(crate) made_at: i64,
    /// Which backend wrote it, on which kernel: only the same kind can read its memory.
    pub(crate) backend: String,
    pub(crate) kernel: String,
    /// Layers of the root as they were, the guest's own first.
    pub(crate) layers: Vec<PathBuf>,
    /// What sandboxes of it start with.
    pub(crate) template: Template,
    pub(crate) keeps_memory: bool,
    /// Size of the memory image.
    pub(crate) memory_bytes: u64,
    /// How many memories before it share their pages on the disk, one with the next.
    #[serde(default, skip_serializing_if = "is_zero")]
    shares: u32,
    /// Every file of the memory image, with its sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<Sums>,
    /// Whether the daemon inside answered when it was taken.
    pub(crate) was_healthy: bool,
}

/// Why a generation cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Disk(#[from] disk::Error),
    #[error("generation {0} has the format {1}, this server reads up to {FORMAT}")]
    Newer(GenerationId, u32),
    #[error("the manifest of generation {0} is another's")]
    Foreign(GenerationId),
    #[error("the manifest of generation {0} was changed")]
    Changed(GenerationId),
    #[error("its memory was kept by the backend {wrote}, this server has {has}; its files can be used")]
    OtherBackend { wrote: String, has: String },
    #[error("this server leaves: what it has not named yet is not kept")]
    Leaving,
    #[error("its memory is not what was written; its files can be used")]
    Damaged(#[from] runtime::manifest::Error),
}

/// What is known of a generation when it is made.
pub(crate) struct Made<'a> {
    pub(crate) generation: GenerationId,
    pub(crate) record: &'a Record,
    pub(crate) at: Timestamp,
    pub(crate) backend: String,
    pub(crate) keep: Keep,
    pub(crate) memory_bytes: u64,
    pub(crate) was_healthy: bool,
}

impl Manifest {
    pub(crate) fn new(made: Made<'_>) -> Self {
        let Made { generation, record, at, backend, keep, memory_bytes, was_healthy } = made;
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self {
            format: FORMAT,
            generation: generation.to_string(),
            source: record.sandbox_id.clone(),
            made_at: at.unix_micros(),
            backend,
            kernel: release,
            layers: record.layers.clone(),
            template: record.as_template(generation, at),
            keeps_memory: keep == Keep::Memory,
            memory_bytes,
            shares: 0,
            memory: None,
            was_healthy,
        }
    }

    /// Takes the sums of the memory that lies in `dir`, and says how its files stood
    /// meanwhile. Reads all of it.
    pub(crate) fn sum_up(&mut self, dir: &Path) -> Result<Option<Stamp>, Unusable> {
        let summed = self.keeps_memory.then(|| Sums::of_standing(dir)).transpose()?;
        let (sums, stamp) = summed.unzip();
        self.memory = sums;
        Ok(stamp.flatten())
    }

    /// Whether the memory in `dir` is, to the byte, the one that was written. Reads
    /// all of it, unless it stands as it did when it was last known to be.
    pub(crate) fn verify(&self, dir: &Path, known: Option<Stamp>) -> Result<Option<Stamp>, Unusable> {
        let Some(sums) = &self.memory else { return Ok(None) };
        if known.is_some() && Some(sums.stamp(dir)?) == known {
            return Ok(known);
        }
        Ok(sums.verify(dir)?)
    }

    /// Whether another memory may share pages with this one.
    pub(crate) fn may_be_shared(&self) -> bool {
        self.keeps_memory && self.shares < LONGEST_CHAIN
    }

    /// Notes with which it does.
    pub(crate) fn shares_with(&mut self, other: &Self) {
        self.shares = other.shares + 1;
    }

    pub(crate) fn read(dir: &Path, generation: GenerationId) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = dir.join(FILE);
        if let Some(written) = disk::read_text(&dir.join(SUM))?
            && written.trim() != sum(&path)?
        {
            return Err(Unusable::Changed(generation));
        }
        let Format { format } = disk::read_json(&path)?;
        if format > FORMAT {
            return Err(Unusable::Newer(generation, format));
        }
        let manifest: Self = disk::read_json(&path)?;
        if manifest.generation != generation.to_string() {
            return Err(Unusable::Foreign(generation));
        }
        Ok(manifest)
    }

    /// Whether its memory can be read by a backend.
    pub(crate) fn fits(&self, backend: &str) -> Result<(), Unusable> {
        if self.backend == backend {
            return Ok(());
        }
        Err(Unusable::OtherBackend { wrote: self.backend.clone(), has: backend.to_owned() })
    }

    /// Writes it, with its sum beside it.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), disk::Error> {
        let (path, sums) = (dir.join(FILE), dir.join(SUM));
        disk::write_json(&path, self)?;
        std::fs::write(&sums, sum(&path)?).map_err(disk::error("writing", &sums))
    }

    /// The same, and waits until it is on the disk.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), disk::Error> {
        self.write(dir)?;
        disk::store(&dir.join(FILE))?;
        disk::store(&dir.join(SUM))?;
        disk::store(dir)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Of the bytes, not of what they mean: a newer server's manifest has a sum, too.
fn sum(path: &Path) -> Result<String, disk::Error> {
    let bytes = std::fs::read(path).map_err(disk::error("reading", path))?;
    Ok(crate::hex::hex(&Sha256::digest(&bytes)))
}

#[cfg(test)]
impl Manifest {
    /// Of a memory that a simulated machine left.
    pub(crate) fn sample(id: GenerationId) -> Self {
        let template = serde_json::json!({
            "format": 1, "build_id": "", "template_id": "", "aliases": [], "cpu_count": 1, "memory_bytes": 1,
            "disk_bytes": 1, "envd_version": "", "layers": [], "interpreter": false, "env": {},
            "default_user": null, "default_workdir": null, "created_at": 1,
        });
        let manifest = serde_json::json!({
            "format": 1, "generation": id.to_string(), "source": "", "made_at": 1, "backend": "sim", "kernel": "",
            "layers": [], "template": template, "keeps_memory": true, "memory_bytes": 2, "was_healthy": true,
        });
        serde_json::from_value(manifest).expect("it is one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_memories_that_share_has_an_end() {
        let mut last = Manifest::sample(GenerationId::from_u128(1));
        let mut shared = 0;
        while last.may_be_shared() {
            let mut next = Manifest::sample(GenerationId::from_u128(2));
            next.shares_with(&last);
            let text = serde_json::to_string(&next).unwrap();
            last = serde_json::from_str(&text).unwrap();
            shared += 1;
        }
        assert_eq!(shared, LONGEST_CHAIN);
    }
}

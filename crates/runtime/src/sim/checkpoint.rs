//! Checkpoints of the simulation: a copy of the files, and what its guest
//! remembers as one file of JSON.

use std::fs;
use std::io;
use std::path::Path;

use model::ByteSize;

use super::guest::Memory;
use super::machine::SimMachine;
use crate::{CheckpointTo, Checkpointed, FILES};

/// The file of a memory.
const FILE: &str = "memory.json";

/// Nothing else runs in between: the guest answers on the same thread, or waits
/// for the lock that is held while its memory is read.
pub(super) fn write(machine: &SimMachine, upper: &Path, to: CheckpointTo<'_>) -> io::Result<Checkpointed> {
    let staging = to.layer.with_extension("new");
    let done = fs::create_dir(&staging).and_then(|()| copy(upper, &staging.join(FILES))).and_then(|()| {
        let memory_bytes = to.memory.map_or(Ok(0), |dir| write_memory(&machine.memory(), dir))?;
        fs::rename(&staging, to.layer)?;
        Ok(Checkpointed { memory_bytes: ByteSize::bytes(memory_bytes), ..Checkpointed::default() })
    });
    if done.is_err() {
        let _ = fs::remove_dir_all(&staging);
        let _ = to.memory.map(fs::remove_dir_all);
    }
    done
}

/// Removes what [`write()`] wrote.
pub(super) fn remove(to: CheckpointTo<'_>) -> io::Result<()> {
    [Some(to.layer), to.memory].into_iter().flatten().try_for_each(|dir| match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    })
}

fn write_memory(memory: &Memory, dir: &Path) -> io::Result<u64> {
    let bytes = serde_json::to_vec(memory)?;
    let staging = dir.with_extension("new");
    fs::create_dir(&staging)?;
    fs::write(staging.join(FILE), &bytes)?;
    fs::rename(&staging, dir)?;
    Ok(bytes.len() as u64)
}

/// What [`write()`] wrote.
pub(super) fn read(dir: &Path) -> io::Result<Memory> {
    Ok(serde_json::from_slice(&fs::read(dir.join(FILE))?)?)
}

/// Copies a tree of files, directories and links; `to` and its parents are made.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

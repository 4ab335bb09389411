//! A large memory that is written while its machine goes on: what comes of the rounds is
//! one memory, the same to the byte, and less was written while the machine stood still.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{ByteSize, Resources};
use testkit::Ground;
use warren_runtime::{Backend, CheckpointTo, Checkpointed, FILES, Machine, MachineSpec, Then};

use crate::checkpoints::{count_in, counted_within, end_all, stop};
use crate::{Host, echo, end, settled, undo};

/// The program looks at all of its pages in so many of its own rounds.
const ALL_PAGES: u64 = 10;
/// It runs in an emulated machine, too.
const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) async fn make_one_memory(ground: &Ground) {
    let backend = ground.backend().unwrap();
    if let Err(reason) = backend.memory_checkpoints() {
        return testkit::skip(&format!("rounds of checkpoints: {reason}"));
    }
    if !backend.writes_in_rounds() || !Path::new("/usr/bin/python3").exists() {
        return testkit::skip(
            "rounds of checkpoints need a kernel that tells which pages change, and python3",
        );
    }
    let source = spec(ground, 31);
    backend.reserve(&source).await.unwrap();
    backend.prepare(&source).await.unwrap();
    let program = backend.upper_dir(&source).join("large.py");
    std::fs::write(program, include_str!("large.py")).unwrap();
    let machine = backend.boot(&source).await.unwrap();
    echo(&*machine.dialer()).await;
    machine.settle().await.unwrap();
    counted(&*backend, &source, ALL_PAGES).await;

    let at_once = Kept::new(ground, "at-once");
    let plain = ground.backend_without_rounds().unwrap();
    let done = at_once.write(&*plain, &source, &machine).await;
    println!("at once: {done:?}");
    assert!(done.rounds == 0 && done.written_standing.as_u64() > 64 << 20, "{done:?}");
    drop(plain);
    counted(&*backend, &source, at_once.count() + ALL_PAGES).await;

    let in_rounds = Kept::new(ground, "in-rounds");
    let less = in_rounds.write(&*backend, &source, &machine).await;
    println!("in rounds: {less:?}");
    assert!(less.rounds > 0 && less.rounds <= 3, "{less:?}");
    assert!(less.written_standing.as_u64() * 4 < less.memory_bytes.as_u64(), "{less:?}");
    println!(
        "ratios of standing still: {} % in time, {} % in bytes",
        less.frozen.as_micros() * 100 / done.frozen.as_micros(),
        less.written_standing.as_u64() * 100 / done.written_standing.as_u64()
    );
    in_rounds.is_one_memory();
    // Most is as it was in the memory before, also on the disk.
    let shared = backend.share_memory(&in_rounds.memory, &at_once.memory).await.unwrap();
    assert!(shared.as_u64() > 32 << 20, "{shared:?}");
    // What was tracked goes on, and is written again from the beginning.
    counted(&*backend, &source, in_rounds.count() + ALL_PAGES).await;

    let other = spec(ground, 32);
    let mut copies = vec![(other.clone(), in_rounds.wake(&*backend, &other).await)];
    let before = Host::census(ground);
    let spec = spec(ground, 33);
    let copy = in_rounds.wake(&*backend, &spec).await;
    let again = Kept::new(ground, "again");
    let to = CheckpointTo { layer: &again.layer, memory: Some(&again.memory) };
    let done = stop(&*backend, &spec, &copy, to).await.unwrap_or_else(|e| panic!("{e}: {}", e.source));
    println!("a second time, and stopped: {done:?}");
    assert!(done.rounds > 0 && done.written_standing.as_u64() * 4 < done.memory_bytes.as_u64(), "{done:?}");
    again.is_one_memory();
    tokio::time::timeout(PATIENCE, copy.exited()).await.unwrap();
    drop(copy);
    undo(&*backend, &spec).await;
    settled(ground, &before).await;
    copies.push((spec.clone(), again.wake(&*backend, &spec).await));
    end_all(&*backend, copies).await;
    end(ground, &*backend, &source, machine).await;
    settled(ground, &[]).await;
    for kept in [at_once, in_rounds, again] {
        backend.remove_layer(&kept.layer).await.unwrap();
        std::fs::remove_dir_all(&kept.memory).unwrap();
    }
}

/// Waits until the program has counted so far.
async fn counted(backend: &dyn Backend, spec: &MachineSpec, n: u64) {
    counted_within(backend, spec, n, PATIENCE).await;
}

/// A machine that runs `large.py`.
fn spec(ground: &Ground, n: u32) -> MachineSpec {
    let line = "/usr/bin/python3 /large.py & exec nc -ll -p 7 -e cat";
    let mut spec = crate::spec_of(ground, n, line);
    spec.resources = Resources { cpu_count: 2, memory: ByteSize::mib(512), disk: ByteSize::mib(64) };
    spec.layers.push(PathBuf::from("/"));
    spec
}

/// A checkpoint.
struct Kept {
    layer: PathBuf,
    memory: PathBuf,
}

impl Kept {
    fn new(ground: &Ground, name: &str) -> Self {
        let dir = ground.layers_dir();
        Self { layer: dir.join(name), memory: dir.join(format!("{name}-memory")) }
    }

    async fn write(
        &self,
        backend: &dyn Backend,
        spec: &MachineSpec,
        machine: &Arc<dyn Machine>,
    ) -> Checkpointed {
        let to = CheckpointTo { layer: &self.layer, memory: Some(&self.memory) };
        let done = backend.checkpoint(spec, machine, to, Then::Continue).await;
        done.unwrap_or_else(|e| panic!("{e}: {}", e.source))
    }

    /// How far the program had counted.
    fn count(&self) -> u64 {
        count_in(&self.layer.join(FILES))
    }

    /// Files and nothing else, as without rounds.
    fn is_one_memory(&self) {
        for entry in std::fs::read_dir(self.memory.join("images")).unwrap() {
            let entry = entry.unwrap();
            assert!(entry.file_type().unwrap().is_file(), "{}", entry.path().display());
        }
    }

    /// Another machine goes on with it, and finds every page as it was.
    async fn wake(&self, backend: &dyn Backend, spec: &MachineSpec) -> Arc<dyn Machine> {
        backend.reserve(spec).await.unwrap();
        backend.prepare_from(spec, &self.layer).await.unwrap();
        let restored = backend.restore(spec, &self.memory).await;
        let machine = restored.unwrap_or_else(|e| panic!("{e}: {}", e.source));
        counted(backend, spec, self.count() + ALL_PAGES).await;
        machine
    }
}

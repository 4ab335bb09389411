//! The promises on the simulation.

use std::path::PathBuf;
use std::sync::Arc;

use model::SandboxId;
use warren_runtime::Backend;
use warren_runtime::sim::{Sim, World};

use crate::{Host, checkpoints, promises};

struct Simulation {
    world: Arc<World>,
    dir: tempfile::TempDir,
}

impl Host for Simulation {
    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Sim::new(Arc::clone(&self.world)))
    }

    fn sandbox_dir(&self, id: &SandboxId) -> PathBuf {
        let dir = self.dir.path().join(id.as_str());
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn layers(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn layers_dir(&self) -> PathBuf {
        let dir = self.dir.path().join("layers");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn census(&self) -> Vec<String> {
        let now = self.world.inventory();
        let slots = now.reserved.iter().map(|slot| format!("slot {slot}"));
        let prepared = now.prepared.iter().map(|id| format!("root of {}", id.as_str()));
        let running = now.running.iter().map(|id| format!("machine {}", id.as_str()));
        slots.chain(prepared).chain(running).collect()
    }
}

#[tokio::test]
async fn the_simulation_keeps_the_promises() {
    promises::hold(&Simulation { world: World::new(), dir: tempfile::tempdir().unwrap() }).await;
}

#[tokio::test]
async fn the_simulation_keeps_checkpoints() {
    checkpoints::hold(&Simulation { world: World::new(), dir: tempfile::tempdir().unwrap() }).await;
}

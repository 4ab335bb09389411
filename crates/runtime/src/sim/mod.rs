//! The backend without machines: for tests of everything above it, without root.
//!
//! Its machines are entries of a [`World`] that outlives the backend, as real
//! machines outlive the server: a second `Sim` on the same world adopts them. A
//! tiny HTTP guest answers in process. The world can be told to fail, delay or
//! hang any act, and says at any time what exists in it.

mod checkpoint;
mod guest;
mod machine;
mod process;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Isolation;

use crate::checkpoint::NotTaken;
use crate::{
    Backend, BoxFuture, CheckpointTo, Checkpointed, Error, ErrorKind, Machine, MachineSpec, Then, Trees,
};

pub use guest::ENVD_VERSION;
pub use machine::{ECHO_PORT, ENVD_PORT, INTERPRETER_PORT, TRIAL_PORT};
pub use world::{Act, Fault, Inventory, World};

/// The simulated backend. What a machine writes lies in its directory itself.
#[derive(Debug)]
pub struct Sim {
    world: Arc<World>,
    trees: Option<Arc<dyn Trees>>,
}

impl Sim {
    /// A backend whose machines live in `world`.
    pub fn new(world: Arc<World>) -> Self {
        Self { world, trees: None }
    }

    /// The same with layers that can be copied, made by somebody else.
    #[must_use]
    pub fn with_trees(self, trees: Arc<dyn Trees>) -> Self {
        Self { trees: Some(trees), ..self }
    }
}

fn error(spec: &MachineSpec, step: &'static str, text: &str) -> Error {
    Error { kind: ErrorKind::Bug, step, sandbox_id: spec.sandbox_id.clone(), source: text.to_owned().into() }
}

/// The same of the disk, which callers tell from others.
fn io_error(spec: &MachineSpec, step: &'static str, source: std::io::Error) -> Error {
    Error { source: source.into(), ..error(spec, step, "") }
}

/// The directory itself is the caller's, as with a real disk.
fn empty(dir: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Backend for Sim {
    fn isolation(&self) -> Isolation {
        Isolation::Sim
    }

    fn reserve<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.world.enact(Act::Reserve, spec).await?;
            if self.world.reserve(spec) { Ok(()) } else { Err(error(spec, "reserving", "the slot is taken")) }
        })
    }

    fn prepare<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.world.enact(Act::Prepare, spec).await?;
            std::fs::create_dir_all(&spec.dir)
                .map_err(|e| error(spec, "making the writable layer", &e.to_string()))?;
            self.world.prepare(spec);
            Ok(())
        })
    }

    fn boot<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<Arc<dyn Machine>, Error>> {
        Box::pin(async move {
            self.world.enact(Act::Boot, spec).await?;
            let machine = self.world.boot(spec, spec.dir.clone());
            // A second point, after the act: the caller may lose what was made.
            self.world.enact(Act::Booted, spec).await?;
            Ok(machine as Arc<dyn Machine>)
        })
    }

    fn adopt<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<Option<Arc<dyn Machine>>, Error>> {
        Box::pin(async move {
            self.world.enact(Act::Adopt, spec).await?;
            Ok(self.world.running(&spec.sandbox_id).map(|machine| machine as Arc<dyn Machine>))
        })
    }

    fn unprepare<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.world.enact(Act::Unprepare, spec).await?;
            if self.world.running(&spec.sandbox_id).is_some() {
                return Err(error(spec, "removing the writable layer", "the machine still runs"));
            }
            empty(&spec.dir).map_err(|e| io_error(spec, "removing the writable layer", e))?;
            self.world.unprepare(spec);
            Ok(())
        })
    }

    fn park<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.world.enact(Act::Park, spec).await?;
            if self.world.running(&spec.sandbox_id).is_some() {
                return Err(error(spec, "parking", "the machine still runs"));
            }
            Ok(())
        })
    }

    fn unpark<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.world.enact(Act::Unpark, spec).await?;
            if spec.dir.is_dir() {
                Ok(())
            } else {
                Err(error(spec, "taking the writable layer up", "it is gone"))
            }
        })
    }

    fn discard<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        self.unprepare(spec)
    }

    fn unreserve<'a>(&'a self, spec: &'a MachineSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.world.enact(Act::Unreserve, spec).await?;
            self.world.unreserve(spec);
            Ok(())
        })
    }

    fn checkpoint<'a>(
        &'a self,
        spec: &'a MachineSpec,
        _machine: &'a Arc<dyn Machine>,
        to: CheckpointTo<'a>,
        then: Then,
    ) -> BoxFuture<'a, Result<Checkpointed, Error>> {
        Box::pin(async move {
            self.world.enact(Act::Checkpoint, spec).await?;
            let Some(running) = self.world.running(&spec.sandbox_id) else {
                return Err(error(spec, "checkpointing", "the machine has ended"));
            };
            if to.memory.is_some()
                && let Err(reason) = self.memory_checkpoints()
            {
                return Err(Error { kind: ErrorKind::Unsupported, ..error(spec, "checkpointing", &reason) });
            }
            // A round that fails is one that was not.
            let in_rounds = to.memory.is_some() && self.writes_in_rounds();
            let rounds = u32::from(in_rounds && self.world.enact(Act::Round, spec).await.is_ok());
            let done =
                checkpoint::write(&running, &spec.dir, to).map_err(|e| io_error(spec, "checkpointing", e))?;
            let done = Checkpointed { rounds, ..done };
            if let Then::Stop(ask) = then {
                if Then::ask(ask, done.memory_bytes).await.is_err() {
                    checkpoint::remove(to).map_err(|e| io_error(spec, "checkpointing", e))?;
                    return Err(error(spec, "checkpointing", &NotTaken.to_string()));
                }
                running.end(crate::Exit::Ended);
            }
            // After the act: the caller may lose what was made.
            self.world.enact(Act::Checkpointed, spec).await?;
            Ok(done)
        })
    }

    fn prepare_from<'a>(
        &'a self,
        spec: &'a MachineSpec,
        layer: &'a Path,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.world.enact(Act::PrepareFrom, spec).await?;
            self.world.prepare(spec);
            checkpoint::copy(&layer.join(crate::FILES), &spec.dir)
                .map_err(|e| io_error(spec, "copying the writable layer", e))
        })
    }

    fn restore<'a>(
        &'a self,
        spec: &'a MachineSpec,
        memory: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Machine>, Error>> {
        Box::pin(async move {
            self.world.enact(Act::Restore, spec).await?;
            let memory =
                checkpoint::read(memory).map_err(|e| error(spec, "reading the memory", &e.to_string()))?;
            let machine = self.world.boot(spec, spec.dir.clone());
            machine.remember(memory);
            self.world.enact(Act::Restored, spec).await?;
            Ok(machine as Arc<dyn Machine>)
        })
    }

    fn writes_in_rounds(&self) -> bool {
        self.world.tracks_pages()
    }

    fn memory_checkpoints(&self) -> Result<(), String> {
        if self.world.has_memory() { Ok(()) } else { Err("the simulation was told to have none".to_owned()) }
    }

    fn trees(&self) -> Option<Arc<dyn Trees>> {
        self.trees.clone()
    }

    fn remove_layer<'a>(&'a self, layer: &'a Path) -> BoxFuture<'a, Result<(), std::io::Error>> {
        Box::pin(async move {
            match &self.trees {
                Some(trees) => trees.remove(layer),
                None => match std::fs::remove_dir_all(layer) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
                    _ => Ok(()),
                },
            }
        })
    }

    fn upper_dir(&self, spec: &MachineSpec) -> PathBuf {
        spec.dir.clone()
    }
}

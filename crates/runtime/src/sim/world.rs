//! What exists in the simulation, and what is scripted to go wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::{SandboxId, Slot};

use super::error;
use super::machine::SimMachine;
use crate::{Error, MachineSpec};

/// A place where something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Act {
    /// Before claiming.
    Reserve,
    /// Before making the writable layer.
    Prepare,
    /// Before the first process starts.
    Boot,
    /// After it started, before the caller knows.
    Booted,
    /// Before looking for a running machine.
    Adopt,
    /// Before the guest answers its init.
    Init,
    /// Before the processes are ended.
    Kill,
    /// Before removing the writable layer.
    Unprepare,
    /// Before giving back what was claimed.
    Unreserve,
    /// Before leaving the writable layer to itself.
    Park,
    /// Before taking it up again.
    Unpark,
    /// Before writing a checkpoint.
    Checkpoint,
    /// Before its memory is written for the first time, while it goes on.
    Round,
    /// After it was written, before the caller knows.
    Checkpointed,
    /// Before copying a checkpoint's writable layer.
    PrepareFrom,
    /// Before waking the processes of a checkpoint.
    Restore,
    /// After they woke, before the caller knows.
    Restored,
}

impl Act {
    const fn step(self) -> &'static str {
        match self {
            Self::Reserve => "reserving",
            Self::Prepare => "preparing",
            Self::Boot | Self::Booted => "booting",
            Self::Adopt => "adopting",
            Self::Init => "answering the init",
            Self::Kill => "killing",
            Self::Unprepare => "removing the writable layer",
            Self::Unreserve => "giving back",
            Self::Park => "parking",
            Self::Unpark => "taking the writable layer up",
            Self::Checkpoint | Self::Round | Self::Checkpointed => "checkpointing",
            Self::PrepareFrom => "copying the writable layer",
            Self::Restore | Self::Restored => "restoring",
        }
    }
}

/// What goes wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The act fails; nothing was done.
    Fail,
    /// The act takes this much longer.
    Delay(Duration),
    /// The act never ends.
    Hang,
}

/// What exists now; two equal inventories are the same world.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Claimed slots.
    pub reserved: BTreeSet<Slot>,
    /// Sandboxes with a writable layer.
    pub prepared: BTreeSet<SandboxId>,
    /// Sandboxes with a live first process.
    pub running: BTreeSet<SandboxId>,
}

#[derive(Debug, Default)]
struct Contents {
    reserved: BTreeMap<Slot, SandboxId>,
    prepared: BTreeSet<SandboxId>,
    machines: BTreeMap<SandboxId, Arc<SimMachine>>,
    faults: BTreeMap<Act, VecDeque<Fault>>,
    /// Checkpoints hold files only.
    forgetful: bool,
    /// Memories are written in rounds.
    tracks_pages: bool,
}

/// The simulated host. Shared by every [`super::Sim`] that is to see the same machines.
#[derive(Debug, Default)]
pub struct World {
    contents: Mutex<Contents>,
}

impl World {
    /// An empty host on which nothing goes wrong.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Lets the next such act go wrong; several queue up.
    pub fn inject(&self, act: Act, fault: Fault) {
        self.lock().faults.entry(act).or_default().push_back(fault);
    }

    /// Whether checkpoints can have a memory from now on; at first they can.
    pub fn set_memory(&self, possible: bool) {
        self.lock().forgetful = !possible;
    }

    pub(super) fn has_memory(&self) -> bool {
        !self.lock().forgetful
    }

    /// Whether memories are written in rounds from now on; at first they are not.
    pub fn set_rounds(&self, possible: bool) {
        self.lock().tracks_pages = possible;
    }

    pub(super) fn tracks_pages(&self) -> bool {
        self.lock().tracks_pages
    }

    /// What exists now.
    pub fn inventory(&self) -> Inventory {
        let contents = self.lock();
        Inventory {
            reserved: contents.reserved.keys().copied().collect(),
            prepared: contents.prepared.clone(),
            running: contents
                .machines
                .iter()
                .filter(|(_, m)| m.is_running())
                .map(|(id, _)| id.clone())
                .collect(),
        }
    }

    /// The running machine of a sandbox, for tests that end or load it from inside.
    pub fn running(&self, sandbox_id: &SandboxId) -> Option<Arc<SimMachine>> {
        self.lock().machines.get(sandbox_id).filter(|machine| machine.is_running()).cloned()
    }

    /// Lets what is scripted for an act happen.
    pub(super) async fn enact(&self, act: Act, spec: &MachineSpec) -> Result<(), Error> {
        let fault = self.lock().faults.get_mut(&act).and_then(VecDeque::pop_front);
        match fault {
            None => {}
            Some(Fault::Fail) => return Err(error(spec, act.step(), "an injected fault")),
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Hang) => std::future::pending().await,
        }
        Ok(())
    }

    pub(super) fn reserve(&self, spec: &MachineSpec) -> bool {
        *self.lock().reserved.entry(spec.slot).or_insert_with(|| spec.sandbox_id.clone()) == spec.sandbox_id
    }

    pub(super) fn prepare(&self, spec: &MachineSpec) {
        self.lock().prepared.insert(spec.sandbox_id.clone());
    }

    pub(super) fn boot(self: &Arc<Self>, spec: &MachineSpec, upper: PathBuf) -> Arc<SimMachine> {
        let machine = SimMachine::new(self, spec, upper);
        self.lock().machines.insert(spec.sandbox_id.clone(), Arc::clone(&machine));
        machine
    }

    pub(super) fn unprepare(&self, spec: &MachineSpec) {
        self.lock().prepared.remove(&spec.sandbox_id);
    }

    /// Ends what still runs, and gives the slot back if it is this sandbox's.
    pub(super) fn unreserve(&self, spec: &MachineSpec) {
        let mut contents = self.lock();
        if let Some(machine) = contents.machines.remove(&spec.sandbox_id) {
            machine.end(crate::Exit::Ended);
        }
        if contents.reserved.get(&spec.slot) == Some(&spec.sandbox_id) {
            contents.reserved.remove(&spec.slot);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // Nothing panics while it is held; a poisoned lock would be a bug of ours.
        self.contents.lock().expect("no holder of this lock panics")
    }
}

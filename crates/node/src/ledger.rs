//! Who holds which slot, and what was promised altogether.

use std::collections::BTreeSet;

use model::admission::{Capacity, Overcommit, Promised, Shortage, admit};
use model::{Resources, Slot};

/// The node's books. Everything in it can be made again from the records on disk.
#[derive(Debug)]
pub(crate) struct Ledger {
    capacity: Capacity,
    overcommit: Overcommit,
    promised: Promised,
    cpus: u32,
    taken: BTreeSet<Slot>,
    next: u32,
}

impl Ledger {
    pub(crate) fn new(capacity: Capacity, overcommit: Overcommit) -> Self {
        Self { capacity, overcommit, promised: Promised::default(), cpus: 0, taken: BTreeSet::new(), next: 0 }
    }

    /// Admits one more sandbox. Slots go round, so that one is not taken again
    /// while the kernel still clears away its last network namespace.
    pub(crate) fn claim(&mut self, resources: &Resources) -> Result<Slot, Shortage> {
        let promised = admit(&self.capacity, &self.overcommit, self.promised, resources)?;
        let slots = self.capacity.slots;
        let free = (0..slots)
            .map(|offset| Slot((self.next + offset) % slots))
            .find(|slot| !self.taken.contains(slot))
            .ok_or(Shortage::Slots(slots))?;
        self.next = (free.0 + 1) % slots;
        self.promised = promised;
        self.cpus = self.cpus.saturating_add(resources.cpu_count);
        self.taken.insert(free);
        Ok(free)
    }

    /// Enters a sandbox that stands already, room or no room.
    pub(crate) fn retake(&mut self, slot: Slot, resources: &Resources) {
        if self.taken.insert(slot) {
            self.promised = self.promised.plus(resources);
            self.cpus = self.cpus.saturating_add(resources.cpu_count);
        }
    }

    /// Gives back what a sandbox held; a second time changes nothing.
    pub(crate) fn release(&mut self, slot: Slot, resources: &Resources) {
        if self.taken.remove(&slot) {
            self.promised = self.promised.minus(resources);
            self.cpus = self.cpus.saturating_sub(resources.cpu_count);
        }
    }

    pub(crate) fn promised(&self) -> Promised {
        self.promised
    }

    /// Processors of those who hold a slot; nothing is refused for want of them.
    pub(crate) fn cpus(&self) -> u32 {
        self.cpus
    }
}

#[cfg(test)]
mod tests {
    use model::ByteSize;

    use super::*;

    #[test]
    fn slots_go_round_and_come_back_once() {
        let capacity = Capacity { memory: ByteSize::gib(64), disk: ByteSize::gib(640), slots: 3 };
        let mut ledger = Ledger::new(capacity, Overcommit::NONE);
        let resources = Resources::DEFAULT;
        let slots: Vec<Slot> = (0..3).map(|_| ledger.claim(&resources).unwrap()).collect();
        assert_eq!(slots, [Slot(0), Slot(1), Slot(2)]);
        assert_eq!(ledger.claim(&resources), Err(Shortage::Slots(3)));
        ledger.release(Slot(0), &resources);
        ledger.release(Slot(0), &resources);
        ledger.release(Slot(2), &resources);
        assert_eq!(ledger.promised().slots, 1);
        assert_eq!(ledger.claim(&resources), Ok(Slot(0)));
        assert_eq!(ledger.claim(&resources), Ok(Slot(2)));
        ledger.retake(Slot(2), &resources);
        assert_eq!(ledger.promised().slots, 3);
    }
}

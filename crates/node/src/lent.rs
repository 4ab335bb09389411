//! Slots that no sandbox has for a while: for machines that the server itself makes
//! beside the sandboxes, and ends before anybody adopts them.

use std::sync::Arc;

use model::{Resources, Slot};

use crate::Error;
use crate::handle::Handle;
use crate::shared::Shared;

/// Two slots, given back when this is dropped.
#[derive(Debug)]
pub struct LentSlots {
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    each: Resources,
}

impl Handle {
    /// Takes two slots, with room for this much in each; refused as a create is.
    pub fn lend_slots(&self, each: Resources) -> Result<LentSlots, Error> {
        let mut lent = LentSlots { shared: Arc::clone(&self.shared), slots: Vec::new(), each };
        for _ in 0..2 {
            let slot = self.shared.ledger().claim(&each).map_err(Error::exhausted)?;
            lent.slots.push(slot);
        }
        Ok(lent)
    }
}

impl LentSlots {
    /// Which they are.
    pub fn slots(&self) -> [Slot; 2] {
        [self.slots[0], self.slots[1]]
    }

    /// They stay taken: something stands in one that could not be removed.
    pub fn keep(mut self) {
        self.slots.clear();
    }
}

impl Drop for LentSlots {
    fn drop(&mut self) {
        for slot in &self.slots {
            self.shared.ledger().release(*slot, &self.each);
        }
    }
}

//! Whether a host has room for one more sandbox, and if not, what is missing.
//!
//! Memory and disk may be promised more often than they are there (sandboxes
//! rarely use all they may), slots may not.

use crate::{ByteSize, Resources};

/// What a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Memory for sandboxes.
    pub memory: ByteSize,
    /// Writable disk for sandboxes.
    pub disk: ByteSize,
    /// How many sandboxes can stand side by side.
    pub slots: u32,
}

/// How much more than there is may be promised, in percent; 100 promises no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit {
    /// Of memory.
    pub memory_percent: u32,
    /// Of disk.
    pub disk_percent: u32,
}

impl Overcommit {
    /// Nothing beyond what is there.
    pub const NONE: Self = Self { memory_percent: 100, disk_percent: 100 };
}

/// What was promised to the sandboxes that stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promised {
    /// Sum of their memory limits.
    pub memory: ByteSize,
    /// Sum of their disk limits.
    pub disk: ByteSize,
    /// How many they are.
    pub slots: u32,
}

impl Promised {
    /// With one more sandbox.
    #[must_use]
    pub const fn plus(self, resources: &Resources) -> Self {
        Self {
            memory: ByteSize::bytes(self.memory.as_u64().saturating_add(resources.memory.as_u64())),
            disk: ByteSize::bytes(self.disk.as_u64().saturating_add(resources.disk.as_u64())),
            slots: self.slots.saturating_add(1),
        }
    }

    /// With that sandbox gone.
    #[must_use]
    pub const fn minus(self, resources: &Resources) -> Self {
        Self {
            memory: ByteSize::bytes(self.memory.as_u64().saturating_sub(resources.memory.as_u64())),
            disk: ByteSize::bytes(self.disk.as_u64().saturating_sub(resources.disk.as_u64())),
            slots: self.slots.saturating_sub(1),
        }
    }
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// All slots are taken.
    #[error("all {0} slots are taken")]
    Slots(u32),
    /// Too little memory is left.
    #[error("{wanted} of memory wanted, {free} free")]
    Memory {
        /// What the sandbox may use.
        wanted: ByteSize,
        /// What can still be promised.
        free: ByteSize,
    },
    /// Too little disk is left.
    #[error("{wanted} of disk wanted, {free} free")]
    Disk {
        /// What the sandbox may use.
        wanted: ByteSize,
        /// What can still be promised.
        free: ByteSize,
    },
}

/// What can still be promised of a total.
fn free(total: ByteSize, percent: u32, promised: ByteSize) -> ByteSize {
    let allowed = u128::from(total.as_u64()) * u128::from(percent) / 100;
    let free = allowed.saturating_sub(u128::from(promised.as_u64()));
    ByteSize::bytes(u64::try_from(free).unwrap_or(u64::MAX))
}

/// Admits one more sandbox: what is promised afterwards, or what is missing.
pub fn admit(
    capacity: &Capacity,
    overcommit: &Overcommit,
    promised: Promised,
    wanted: &Resources,
) -> Result<Promised, Shortage> {
    if promised.slots >= capacity.slots {
        return Err(Shortage::Slots(capacity.slots));
    }
    let memory = free(capacity.memory, overcommit.memory_percent, promised.memory);
    if wanted.memory > memory {
        return Err(Shortage::Memory { wanted: wanted.memory, free: memory });
    }
    let disk = free(capacity.disk, overcommit.disk_percent, promised.disk);
    if wanted.disk > disk {
        return Err(Shortage::Disk { wanted: wanted.disk, free: disk });
    }
    Ok(promised.plus(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resources(memory_mib: u64, disk_mib: u64) -> Resources {
        Resources { cpu_count: 1, memory: ByteSize::mib(memory_mib), disk: ByteSize::mib(disk_mib) }
    }

    #[test]
    fn the_first_thing_missing_is_named() {
        let capacity = Capacity { memory: ByteSize::mib(1000), disk: ByteSize::mib(1000), slots: 1 };
        let none = Promised::default();
        let admitted = admit(&capacity, &Overcommit::NONE, none, &resources(1000, 1000)).unwrap();
        assert_eq!(admit(&capacity, &Overcommit::NONE, admitted, &resources(1, 1)), Err(Shortage::Slots(1)));
        let shortage = admit(&capacity, &Overcommit::NONE, none, &resources(1001, 1)).unwrap_err();
        assert_eq!(shortage.to_string(), "1001 MiB of memory wanted, 1000 MiB free");
        let shortage = admit(&capacity, &Overcommit::NONE, none, &resources(1, 1001)).unwrap_err();
        assert_eq!(shortage.to_string(), "1001 MiB of disk wanted, 1000 MiB free");
        let twice = Overcommit { memory_percent: 200, disk_percent: 200 };
        assert!(admit(&capacity, &twice, none, &resources(2000, 2000)).is_ok());
    }

    proptest! {
        #[test]
        fn never_more_is_promised_than_allowed(
            sizes in prop::collection::vec((1u64..4000, 1u64..4000), 0..40),
            percent in 50u32..400,
        ) {
            let capacity = Capacity { memory: ByteSize::gib(8), disk: ByteSize::gib(16), slots: 20 };
            let overcommit = Overcommit { memory_percent: percent, disk_percent: percent };
            let mut promised = Promised::default();
            let mut admitted = Vec::new();
            for (memory, disk) in sizes {
                let wanted = resources(memory, disk);
                if let Ok(next) = admit(&capacity, &overcommit, promised, &wanted) {
                    promised = next;
                    admitted.push(wanted);
                }
            }
            let limit = |total: ByteSize| total.as_u64() / 100 * u64::from(percent) + 100 * u64::from(percent);
            prop_assert!(promised.slots <= capacity.slots);
            prop_assert!(promised.memory.as_u64() <= limit(capacity.memory));
            prop_assert!(promised.disk.as_u64() <= limit(capacity.disk));
            for gone in admitted {
                promised = promised.minus(&gone);
            }
            prop_assert_eq!(promised, Promised::default());
        }
    }
}

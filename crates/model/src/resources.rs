//! What a sandbox may use: fixed by the build it starts from.

use crate::ByteSize;

/// Limits of one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Virtual processors; 1, or an even number up to 32.
    pub cpu_count: u32,
    /// Memory, all processes and page cache together; at least 128 MiB.
    pub memory: ByteSize,
    /// Writable disk, on top of the template's own files.
    pub disk: ByteSize,
}

/// Limits outside what any sandbox can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {rule}, not {given}")]
pub struct InvalidResources {
    /// The wire name of the field at fault.
    pub field: &'static str,
    /// What it has to be.
    pub rule: &'static str,
    /// What it was.
    pub given: u64,
}

impl Resources {
    /// The defaults of a template that names none: 2 processors, 1 GiB, 10 GiB disk.
    pub const DEFAULT: Self = Self { cpu_count: 2, memory: ByteSize::mib(1024), disk: ByteSize::gib(10) };

    /// Holds the limits against the rules that no configuration changes.
    pub fn checked(self) -> Result<Self, InvalidResources> {
        let cpus = u64::from(self.cpu_count);
        if !(cpus == 1 || (cpus.is_multiple_of(2) && (2..=32).contains(&cpus))) {
            return Err(InvalidResources {
                field: "cpuCount",
                rule: "1 or an even number up to 32",
                given: cpus,
            });
        }
        let memory_mib = self.memory.as_mib();
        if memory_mib < 128 || !memory_mib.is_multiple_of(2) {
            return Err(InvalidResources {
                field: "memoryMB",
                rule: "even and at least 128",
                given: memory_mib,
            });
        }
        Ok(self)
    }
}

//! Which barrier stands between a sandbox and the host.

use std::fmt;
use std::str::FromStr;

/// The kinds of barrier. The answer to a create always says which one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Linux namespaces, cgroups, seccomp: one kernel shared with the host.
    Namespaces,
    /// A user-space kernel between the sandbox and the host's.
    Gvisor,
    /// A kernel of its own in a virtual machine.
    MicroVm,
    /// No barrier and no processes: a simulation for tests of the control plane.
    Sim,
}

/// The text names no isolation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown isolation {0:?}: use namespaces or sim")]
pub struct UnknownIsolation(pub String);

impl Isolation {
    /// The name used in configuration, on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Gvisor => "gvisor",
            Self::MicroVm => "microvm",
            Self::Sim => "sim",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Isolation {
    type Err = UnknownIsolation;

    fn from_str(text: &str) -> Result<Self, UnknownIsolation> {
        [Self::Namespaces, Self::Gvisor, Self::MicroVm, Self::Sim]
            .into_iter()
            .find(|isolation| isolation.as_str() == text)
            .ok_or_else(|| UnknownIsolation(text.to_owned()))
    }
}

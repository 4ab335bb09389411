//! Why a sandbox is gone: every ended sandbox leaves such a record.

use std::fmt;
use std::str::FromStr;

use crate::{ByteSize, Timestamp};

/// Who asked for a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KilledBy {
    /// A client, through the API.
    Client,
    /// The operator, or the server on the operator's behalf.
    Operator,
}

/// Why a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// Somebody killed it.
    Killed(KilledBy),
    /// Its time was up.
    Timeout,
    /// The kernel ended its first process for want of memory.
    OutOfMemory,
    /// Its first process ended by itself.
    Crashed,
    /// It never became usable.
    StartFailed,
    /// Its host went down or forgot it.
    HostLost,
}

/// The most a sandbox used while it lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peaks {
    /// Highest memory in use.
    pub memory: ByteSize,
    /// Highest writable disk in use.
    pub disk: ByteSize,
    /// Processor time, in microseconds.
    pub cpu_micros: u64,
    /// How many of its processes the kernel ended for want of memory.
    pub oom_kills: u64,
}

/// A process that the kernel ended for want of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OomVictim {
    /// Its id inside.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
    /// Whose it was.
    pub user: String,
    /// When its end was seen.
    pub at: Timestamp,
    /// Whether it was killed itself; else a child of it, of which no more is known.
    pub itself: bool,
}

impl fmt::Display for OomVictim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.itself { "" } else { "a child of " };
        write!(f, "{whose}{} (pid {}, {})", self.name, self.pid, self.user)
    }
}

/// The text names no end cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown end cause {0:?}")]
pub struct UnknownEndCause(pub String);

impl EndCause {
    const ALL: [Self; 7] = [
        Self::Killed(KilledBy::Client),
        Self::Killed(KilledBy::Operator),
        Self::Timeout,
        Self::OutOfMemory,
        Self::Crashed,
        Self::StartFailed,
        Self::HostLost,
    ];

    /// The name used in the store and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Killed(KilledBy::Client) => "killed",
            Self::Killed(KilledBy::Operator) => "killed_by_operator",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out_of_memory",
            Self::Crashed => "crashed",
            Self::StartFailed => "start_failed",
            Self::HostLost => "host_lost",
        }
    }

    /// A sentence for people, without a full stop: "it …".
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Killed(KilledBy::Client) => "it was killed by a request",
            Self::Killed(KilledBy::Operator) => "it was killed by the operator",
            Self::Timeout => {
                "it reached its timeout; create with a longer timeout or extend it with set_timeout"
            }
            Self::OutOfMemory => "it ran out of memory; use a template with more",
            Self::Crashed => "its first process ended unexpectedly",
            Self::StartFailed => "it could not be started",
            Self::HostLost => "its host was restarted or lost it",
        }
    }
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EndCause {
    type Err = UnknownEndCause;

    fn from_str(text: &str) -> Result<Self, UnknownEndCause> {
        Self::ALL
            .into_iter()
            .find(|cause| cause.as_str() == text)
            .ok_or_else(|| UnknownEndCause(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for cause in EndCause::ALL {
            assert_eq!(cause.as_str().parse::<EndCause>(), Ok(cause));
        }
    }
}

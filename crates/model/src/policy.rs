//! What happens to a sandbox by itself.

/// What a sandbox's timeout does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtTimeout {
    /// It ends.
    #[default]
    Kill,
    /// It is paused: its files stay, its processes end.
    PauseFiles,
    /// It is paused with its processes and their memory.
    PauseMemory,
}

/// What happens to a sandbox without anybody asking at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// What its timeout does.
    pub at_timeout: AtTimeout,
    /// Whether traffic to one of its ports wakes it when it is paused.
    pub wakes_by_traffic: bool,
}

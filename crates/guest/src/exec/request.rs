//! What the daemon and its exec helper say to each other: a length of four bytes
//! (native order) and JSON; three descriptors travel with the length of a request.

use serde::{Deserialize, Serialize};

/// Longest message. Above the kernel's limit for arguments and environment, so
/// that too much of them is the kernel's refusal, not ours.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;

/// A process to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Directory to start in.
    pub(crate) cwd: String,
    /// User id.
    pub(crate) uid: u32,
    /// Primary group id.
    pub(crate) gid: u32,
    /// Supplementary group ids.
    pub(crate) groups: Vec<u32>,
    /// Where it stands among the daemon's processes.
    pub(crate) session: Session,
}

/// A process's session and process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Session {
    /// Those of the daemon.
    Inherit,
    /// The leader of a new group.
    Group,
    /// The leader of a new session with standard input as its terminal.
    Terminal,
}

/// How the start went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It runs.
    Started {
        /// Its id.
        pid: i32,
    },
    /// It could not be started, through the caller's fault if `refused`.
    Failed {
        /// Whether the request itself is to blame (directory, permissions).
        refused: bool,
        /// In words.
        message: String,
    },
}

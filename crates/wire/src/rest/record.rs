//! What an ended sandbox leaves.

use serde::{Deserialize, Serialize};

use super::Rfc3339;

/// Answer of `GET /sandboxes/{id}/record`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxRecord {
    /// Which one.
    #[serde(rename = "sandboxID")]
    pub sandbox_id: String,
    /// What it was based on.
    #[serde(rename = "templateID")]
    pub template_id: String,
    /// What it started from.
    #[serde(rename = "buildID")]
    pub build_id: String,
    /// Why it ended, in a word.
    pub cause: String,
    /// The same in a sentence.
    pub message: String,
    /// When it became usable; absent if it never was, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Rfc3339>,
    /// When it ended.
    pub ended_at: Rfc3339,
    /// The most memory it used, in bytes.
    pub peak_memory_bytes: u64,
    /// The most disk it used, in bytes.
    pub peak_disk_bytes: u64,
    /// Processor time, in microseconds.
    pub cpu_micros: u64,
    /// Processes that the kernel ended for want of memory.
    pub oom_kills: u64,
    /// Which these were, as far as they are known: the last few, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oom_victims: Vec<OomVictim>,
}

/// A process that the kernel ended for want of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OomVictim {
    /// Its id inside.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
    /// Whose it was.
    pub user: String,
    /// When its end was seen.
    pub at: Rfc3339,
    /// Whether it was killed itself; else a child of it, of which no more is known.
    pub itself: bool,
}

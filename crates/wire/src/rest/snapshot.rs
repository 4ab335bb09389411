//! Snapshots, forks and rollbacks of sandboxes.

use serde::{Deserialize, Serialize};

use super::{Rfc3339, Sandbox};

/// `POST /sandboxes/{id}/snapshots`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSnapshot {
    /// `alias`, `namespace/alias`, each also with `:tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether its processes are part of it; they are by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
}

/// Answer of that, and one item of `GET /snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// What a create takes as its template.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// Its name with its namespace and without its tag, if it has one.
    pub names: Vec<String>,
    /// Which sandbox it was taken of (ours; other servers have no such field).
    #[serde(default, rename = "sandboxID", skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// When it was taken (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Rfc3339>,
    /// Whether its processes are part of it (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
    /// What its memory takes on the server's disk, in bytes (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// `POST /sandboxes/{id}/fork`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkRequest {
    /// Seconds that each lives; 15 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// How many; one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
}

/// One fork, or why it did not come about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forked {
    /// A sandbox.
    Sandbox(Box<Sandbox>),
    /// Why there is none.
    Error(ForkError),
}

/// Why a fork did not come about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkError {
    /// As the status of a create would be.
    pub code: u16,
    /// In words.
    pub message: String,
}

/// `POST /sandboxes/{id}/rollback` (ours).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// A snapshot that was taken of this sandbox.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// Seconds to live from there; what it was given at last by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// Answer of `GET /snapshots/diff` (ours).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDiff {
    /// What differs, by path.
    pub changes: Vec<Change>,
    /// There are more than one answer shows.
    pub truncated: bool,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where, absolute; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// How.
    pub change: ChangeKind,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Only the second has it.
    Added,
    /// Both have it, with another content, kind, owner or mode.
    Modified,
    /// Only the first has it.
    Deleted,
}

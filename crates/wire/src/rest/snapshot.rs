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

/// One item of `GET /snapshots/diff` (ours): a path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where, absolute; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// The path's bytes, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// How it differs.
    pub change: ChangeKind,
    /// What the first snapshot has there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ChangedFile>,
    /// What the second has there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ChangedFile>,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Only the second has it.
    Added,
    /// Both have it, with another content, kind, owner or mode.
    Modified,
    /// Only the first has it.
    Removed,
}

/// A side of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedFile {
    /// What it is.
    pub kind: ChangedFileKind,
    /// Bytes of a file or of a link's target; 0 of anything else.
    pub size_bytes: u64,
    /// Permissions, with the set-id and sticky bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangedFileKind {
    /// A file of bytes.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe with a name.
    Fifo,
    /// A socket's name.
    Socket,
    /// A device.
    Device,
}

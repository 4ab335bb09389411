//! What a sandbox had to tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Rfc3339;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxLogEntry {
    /// When.
    pub timestamp: Rfc3339,
    /// What happened.
    pub message: String,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// Facts about it.
    pub fields: BTreeMap<String, String>,
}

/// The same entry as text that is a JSON object, which the command line parses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxLog {
    /// When.
    pub timestamp: Rfc3339,
    /// The object as text; it has a `level`.
    pub line: String,
}

/// Answer of `GET /sandboxes/{id}/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxLogs {
    /// As text.
    pub logs: Vec<SandboxLog>,
    /// As objects.
    pub log_entries: Vec<SandboxLogEntry>,
}

/// Answer of `GET /v2/sandboxes/{id}/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxLogsV2 {
    /// The entries.
    pub logs: Vec<SandboxLogEntry>,
}

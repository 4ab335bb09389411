//! Templates as lists show them.

use serde::{Deserialize, Serialize};

use super::Rfc3339;

/// One item of `GET /templates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Its id.
    #[serde(rename = "templateID")]
    pub template_id: String,
    /// Its newest build.
    #[serde(rename = "buildID")]
    pub build_id: String,
    /// Processors.
    pub cpu_count: u32,
    /// Memory, in MiB.
    #[serde(rename = "memoryMB")]
    pub memory_mb: u64,
    /// Disk, in MiB.
    #[serde(rename = "diskSizeMB")]
    pub disk_size_mb: u64,
    /// Whether other teams may start from it.
    pub public: bool,
    /// Its names without namespaces.
    pub aliases: Vec<String>,
    /// Its names, `namespace/alias` where they have one.
    pub names: Vec<String>,
    /// When it was made.
    pub created_at: Rfc3339,
    /// When its newest build became ready.
    pub updated_at: Rfc3339,
    /// Who made it; `null` for the server itself.
    pub created_by: Option<TemplateCreator>,
    /// When a sandbox was last started from it; `null` for never.
    pub last_spawned_at: Option<Rfc3339>,
    /// How many were.
    pub spawn_count: u64,
    /// How many builds it has.
    pub build_count: u64,
    /// Version of the daemon in its newest build.
    pub envd_version: String,
    /// How far its newest build is.
    pub build_status: String,
}

/// Who made a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateCreator {
    /// The user's id, a UUID.
    pub id: String,
    /// The user's address.
    pub email: Option<String>,
}

/// Answer of `GET /templates/aliases/{alias}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateAlias {
    /// What the alias leads to.
    #[serde(rename = "templateID")]
    pub template_id: String,
    /// Whether other teams may start from it.
    pub public: bool,
}

/// Answer of `POST` and `GET /default-templates/{name}`: one that is built on demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultTemplate {
    /// Its name.
    pub name: String,
    /// `absent`, `waiting`, `building`, `ready` or `error`.
    pub status: String,
    /// How far it is, or why it failed, in words.
    pub message: String,
}

//! What happened to sandboxes, and who is told.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Rfc3339;

/// One event, in answers and in messages to webhooks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxEvent {
    /// `v1` in answers, `v2` in messages.
    pub version: String,
    /// Its id, a UUID.
    pub id: String,
    /// `sandbox.lifecycle.…`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Facts about it.
    pub event_data: Option<Value>,
    /// The build that the sandbox started from.
    pub sandbox_build_id: String,
    /// Which run of it.
    pub sandbox_execution_id: String,
    /// Which sandbox.
    pub sandbox_id: String,
    /// Whose.
    pub sandbox_team_id: String,
    /// What it is based on.
    pub sandbox_template_id: String,
    /// When.
    pub timestamp: Rfc3339,
}

/// A webhook; its secret is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Its id, a UUID.
    pub id: String,
    /// Whose it is.
    pub team_id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Rfc3339,
    /// Whether it is told now.
    pub enabled: bool,
    /// Where events are posted to.
    pub url: String,
    /// Of which types it is told.
    pub events: Vec<String>,
}

/// Body of what makes or changes a webhook; a change leaves what is left out.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSettings {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where events are posted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Of which types it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// What messages are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_secret: Option<String>,
}

impl std::fmt::Debug for WebhookSettings {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSettings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A message that a webhook has not got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undelivered {
    /// What it tells.
    pub event: SandboxEvent,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried again; `null` if never.
    pub next_attempt_at: Option<Rfc3339>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

//! Keys, tokens, people and teams, as those who manage them see them.

use serde::{Deserialize, Serialize};

use super::Rfc3339;

/// What can be seen of a secret after it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyMask {
    /// What says its kind, in the clear.
    pub prefix: String,
    /// Length of what follows.
    pub value_length: u64,
    /// First characters of that.
    pub masked_value_prefix: String,
    /// Its last characters.
    pub masked_value_suffix: String,
}

/// A person as the maker of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamUser {
    /// Their id, a UUID.
    pub id: String,
    /// Their address.
    pub email: Option<String>,
}

/// One API key. `null` is written where there is nobody and no use: clients
/// demand the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Its id, a UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What can be seen of it.
    pub mask: KeyMask,
    /// When it was made.
    pub created_at: Rfc3339,
    /// Who made it.
    pub created_by: Option<TeamUser>,
    /// When it was last used.
    pub last_used: Option<Rfc3339>,
}

/// Answer to the making of a key: the only one that holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedApiKey {
    /// The secret.
    pub key: String,
    /// All the rest.
    #[serde(flatten)]
    pub listed: ApiKey,
}

impl std::fmt::Debug for CreatedApiKey {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.listed.fmt(f)
    }
}

/// Answer to the making of an access token: the only one that holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedAccessToken {
    /// Its id, a UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The secret.
    pub token: String,
    /// What can be seen of it later.
    pub mask: KeyMask,
    /// When it was made.
    pub created_at: Rfc3339,
}

impl std::fmt::Debug for CreatedAccessToken {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedAccessToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Body of what makes or renames a key or token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
}

/// A team as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminTeam {
    /// Its id, a UUID.
    #[serde(rename = "teamID")]
    pub team_id: String,
    /// Its name.
    pub name: String,
    /// Its namespace in template names.
    pub slug: String,
    /// Whether it is the one that a fresh server makes.
    pub is_default: bool,
    /// Its own limit of concurrent sandboxes; the server's without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sandboxes: Option<u64>,
    /// `good`, `blocked` or `banned`.
    pub standing: String,
    /// When it was made.
    pub created_at: Rfc3339,
}

/// Body of `POST /admin/teams`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewTeam {
    /// Its name.
    pub name: String,
    /// Its namespace in template names; made from the name without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Its own limit of concurrent sandboxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sandboxes: Option<u64>,
}

/// Body of `PATCH /admin/teams/{teamID}`; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamChange {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own limit of concurrent sandboxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sandboxes: Option<u64>,
    /// `good`, `blocked` or `banned`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
}

/// Body of what adds a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUser {
    /// Their address.
    pub email: String,
}

/// A person as the operator sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminUser {
    /// Their id, a UUID.
    #[serde(rename = "userID")]
    pub user_id: String,
    /// Their address.
    pub email: String,
    /// When they were added.
    pub created_at: Rfc3339,
}

/// Answer of `POST /admin/teams/{teamID}/sandboxes/kill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KillReport {
    /// Sandboxes that went.
    pub killed_count: u64,
    /// Sandboxes that could not be killed in time; they are still worked on.
    pub failed_count: u64,
}

/// Answer of `POST /admin/teams/{teamID}/builds/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelReport {
    /// Builds that were ended.
    pub cancelled_count: u64,
    /// Builds that could not be.
    pub failed_count: u64,
}

/// One item of `GET /admin/sandboxes/running-counts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningCount {
    /// Whose.
    #[serde(rename = "teamID")]
    pub team_id: String,
    /// How many run or start.
    pub running_count: u64,
}

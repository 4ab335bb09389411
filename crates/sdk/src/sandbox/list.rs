//! Lists of sandboxes and of snapshots.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use wire::rest::{ListedSandbox, Rfc3339, SandboxState, metadata};

use super::{Sandbox, SandboxInfo};
use crate::http::query;
use crate::pages::Paginator;
use crate::{Config, Error};

/// Which sandboxes to list, and how. The default is all, newest first.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    metadata: BTreeMap<String, String>,
    states: Vec<SandboxState>,
    template: Option<String>,
    started_after: Option<SystemTime>,
    oldest_first: bool,
    limit: Option<u32>,
    next_token: Option<String>,
}

impl ListQuery {
    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those with this label; may be repeated.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Only those that stand there; may be repeated.
    #[must_use]
    pub fn state(mut self, state: SandboxState) -> Self {
        self.states.push(state);
        self
    }

    /// Only those of a template's id or name.
    #[must_use]
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// Only those that started then or later.
    #[must_use]
    pub fn started_after(mut self, moment: SystemTime) -> Self {
        self.started_after = Some(moment);
        self
    }

    /// The oldest first.
    #[must_use]
    pub fn oldest_first(mut self) -> Self {
        self.oldest_first = true;
        self
    }

    fn path(&self) -> String {
        let states: Vec<&str> = self
            .states
            .iter()
            .map(|state| match state {
                SandboxState::Running => "running",
                SandboxState::Paused => "paused",
            })
            .collect();
        let after = self.started_after.map(|at| {
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Rfc3339::from_unix_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)).to_string()
        });
        let pairs = [
            ("metadata", (!self.metadata.is_empty()).then(|| metadata::encode(&self.metadata))),
            ("state", (!states.is_empty()).then(|| states.join(","))),
            ("template", self.template.clone()),
            ("startedAfter", after),
            ("order", self.oldest_first.then(|| "asc".to_owned())),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        format!("/v2/sandboxes{}", query(&pairs))
    }
}

/// A kept state of a sandbox, to start others from by its id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SnapshotInfo {
    /// Its id, good for [`crate::CreateOptions::template`].
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// Its names.
    #[serde(default)]
    pub names: Vec<String>,
    /// The sandbox it was taken of; told by this server alone, as all that follows.
    #[serde(default, rename = "sandboxID")]
    pub sandbox_id: Option<String>,
    /// When it was taken.
    #[serde(default, rename = "createdAt", deserialize_with = "told_moment")]
    pub created_at: Option<SystemTime>,
    /// Whether processes and their memory are part of it.
    #[serde(default)]
    pub memory: Option<bool>,
    /// What its memory takes on the server's disk, in bytes.
    #[serde(default, rename = "sizeBytes")]
    pub size_bytes: Option<u64>,
}

fn told_moment<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<SystemTime>, D::Error> {
    Ok(Option::<Rfc3339>::deserialize(from)?.map(super::moment))
}

/// Which snapshots to list. The default is all, newest first.
#[derive(Debug, Clone, Default)]
pub struct SnapshotQuery {
    sandbox_id: Option<String>,
    name: Option<String>,
    limit: Option<u32>,
    next_token: Option<String>,
}

impl SnapshotQuery {
    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those of this sandbox.
    #[must_use]
    pub fn sandbox(mut self, sandbox_id: impl Into<String>) -> Self {
        self.sandbox_id = Some(sandbox_id.into());
        self
    }

    /// Only those of this name, also `name:tag`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// What every list that comes page by page can be told.
macro_rules! paged {
    ($($query:ident),+) => { $(
        impl $query {
            /// Items of a page, 1 to 100.
            #[must_use]
            pub fn limit(mut self, limit: u32) -> Self {
                self.limit = Some(limit);
                self
            }

            /// Goes on where an earlier [`Paginator`] was.
            #[must_use]
            pub fn next_token(mut self, token: impl Into<String>) -> Self {
                self.next_token = Some(token.into());
                self
            }
        }
    )+ };
}

paged!(ListQuery, SnapshotQuery);

impl Sandbox {
    /// All sandboxes of the key's team, newest first; follows the pages.
    pub async fn list(config: &Config) -> Result<Vec<SandboxInfo>, Error> {
        Self::list_with(config, ListQuery::new()).collect().await
    }

    /// Sandboxes of the key's team, page by page.
    pub fn list_with(config: &Config, query: ListQuery) -> Paginator<SandboxInfo> {
        Paginator::new::<ListedSandbox>(config, query.path(), query.next_token, None)
    }

    /// Snapshots of the key's team, page by page.
    pub fn list_snapshots(config: &Config, filter: SnapshotQuery) -> Paginator<SnapshotInfo> {
        let pairs = [
            ("sandboxID", filter.sandbox_id),
            ("name", filter.name),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ];
        let path = format!("/snapshots{}", query(&pairs));
        Paginator::new::<SnapshotInfo>(config, path, filter.next_token, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_written_as_the_official_sdks_write_it() {
        let query = ListQuery::new()
            .metadata("a b", "c&d=é")
            .state(SandboxState::Running)
            .state(SandboxState::Paused)
            .oldest_first()
            .limit(5);
        let metadata = "metadata=a%252520b%3Dc%252526d%25253D%2525C3%2525A9";
        assert_eq!(
            query.path(),
            format!("/v2/sandboxes?{metadata}&state=running%2Cpaused&order=asc&limit=5")
        );
        assert_eq!(ListQuery::new().path(), "/v2/sandboxes");
    }
}

//! What a new sandbox should be, and how one is woken.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use wire::rest::{AutoResume, ConnectRequest, Iam, NewSandbox, VolumeMount};

use super::network::Network;
use crate::Error;

/// Options of [`crate::Sandbox::create_with`]; the default is template `base` for 300 s.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    request: NewSandbox,
    idempotency_key: Option<String>,
}

/// What the end of a sandbox's time does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// It is killed.
    #[default]
    Kill,
    /// It is paused, with its memory or with its files alone.
    Pause(SnapshotMode),
}

/// What a pause or a snapshot keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotMode {
    /// Memory and files: processes go on where they were.
    #[default]
    Full,
    /// Files alone: it starts anew.
    Filesystem,
}

impl SnapshotMode {
    /// As requests say it: nothing for the default.
    pub(crate) fn memory(self) -> Option<bool> {
        (self == Self::Filesystem).then_some(false)
    }
}

impl CreateOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// A template's name, id, or `name:tag`; also a snapshot's id.
    #[must_use]
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.request.template_id = template.into();
        self
    }

    /// How long it lives; whole seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(seconds(timeout));
        self
    }

    /// Adds a label, to list by.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.metadata.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    /// Sets an environment variable for everything that runs inside.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.env_vars.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// `false` cuts it off the outside.
    #[must_use]
    pub fn allow_internet_access(mut self, allow: bool) -> Self {
        self.request.allow_internet_access = Some(allow);
        self
    }

    /// Finer rules for its network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.request.network = Some(network.into_config());
        self
    }

    /// What the end of its time does.
    #[must_use]
    pub fn on_timeout(mut self, action: OnTimeout) -> Self {
        let (pause, memory) = match action {
            OnTimeout::Kill => (false, None),
            OnTimeout::Pause(mode) => (true, mode.memory()),
        };
        (self.request.auto_pause, self.request.auto_pause_memory) = (Some(pause), memory);
        self
    }

    /// Traffic wakes it after a pause at its timeout.
    #[must_use]
    pub fn auto_resume(mut self) -> Self {
        self.request.auto_resume = Some(AutoResume { enabled: true });
        self
    }

    /// Mounts the volume of that name at an absolute path.
    #[must_use]
    pub fn volume(mut self, path: impl Into<String>, name: impl Into<String>) -> Self {
        let mount = VolumeMount { name: name.into(), path: path.into() };
        self.request.volume_mounts.get_or_insert_default().push(mount);
        self
    }

    /// Lets it prove an identity to `audience`, for `${e2b.identity.tokens.NAME}`.
    #[must_use]
    pub fn iam_token(mut self, name: impl Into<String>, audience: &str) -> Self {
        let token = json!({ "audience": audience, "tokenType": "JWT-SVID" });
        self.request.iam.get_or_insert_with(Iam::default).tokens.insert(name.into(), token);
        self
    }

    /// Starts the gateway to these MCP servers, from template `mcp-gateway`
    /// where none is named.
    #[must_use]
    pub fn mcp(mut self, servers: Value) -> Self {
        self.request.mcp = Some(servers);
        self
    }

    /// A key under which the server makes one sandbox, however often it is
    /// asked: 1 to 255 of `a-z`, `0-9` and `-`.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn mcp_servers(&self) -> Option<&Value> {
        self.request.mcp.as_ref()
    }

    /// Refuses what can never work; the official client demands the same.
    pub(crate) fn into_request(mut self) -> Result<(NewSandbox, HeaderMap), Error> {
        let auto_resume = self.request.auto_resume.is_some();
        if auto_resume && self.request.auto_pause != Some(true) {
            return Err(Error::invalid("auto_resume needs on_timeout(OnTimeout::Pause(…))"));
        }
        if auto_resume && self.request.auto_pause_memory == Some(false) {
            return Err(Error::invalid("auto_resume needs a pause that keeps memory"));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = self.idempotency_key {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let good = (1..=255).contains(&key.len()) && key.bytes().all(plain);
            let value = HeaderValue::from_str(&key).ok().filter(|_| good);
            let wrong = || Error::invalid("an idempotency key is 1 to 255 of a-z, 0-9 and -");
            headers.insert("idempotency-key", value.ok_or_else(wrong)?);
        }
        if self.request.template_id.is_empty() {
            let default = if self.request.mcp.is_some() { "mcp-gateway" } else { "base" };
            default.clone_into(&mut self.request.template_id);
        }
        self.request.metadata.get_or_insert_with(BTreeMap::new);
        self.request.env_vars.get_or_insert_with(BTreeMap::new);
        Ok((self.request, headers))
    }
}

/// Options of [`crate::Sandbox::connect_with`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectOptions {
    request: ConnectRequest,
}

impl ConnectOptions {
    /// The default: 300 s, with its memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long it lives at least, from now; whole seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(seconds(timeout));
        self
    }

    /// Starts a paused one from its files alone, also where its memory was kept.
    #[must_use]
    pub fn reboot(mut self) -> Self {
        self.request.memory = Some(false);
        self
    }

    pub(crate) fn into_request(self) -> ConnectRequest {
        self.request
    }
}

/// Whole seconds, rounded up: nobody gets less time than asked for.
pub(crate) fn seconds(duration: Duration) -> i64 {
    let whole = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    whole.saturating_add(i64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refused = |options: CreateOptions| options.into_request().unwrap_err().to_string();
        assert!(refused(CreateOptions::new().auto_resume()).contains("on_timeout"));
        let files = OnTimeout::Pause(SnapshotMode::Filesystem);
        assert!(refused(CreateOptions::new().on_timeout(files).auto_resume()).contains("memory"));
        for key in ["", "A", "a b", &"a".repeat(256)] {
            assert!(refused(CreateOptions::new().idempotency_key(key)).contains("idempotency"), "{key}");
        }
    }

    #[test]
    fn a_part_of_a_second_counts_as_a_whole_one() {
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::MAX), i64::MAX);
    }
}

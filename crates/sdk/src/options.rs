//! What a new sandbox should be.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::rest::NewSandbox;

/// Options of [`crate::Sandbox::create_with`]; the default is template `base` for 300 s.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    pub(crate) template: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) envs: BTreeMap<String, String>,
    pub(crate) allow_internet_access: Option<bool>,
}

impl CreateOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// A template's name, id, or `name:tag`.
    #[must_use]
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// How long it lives; whole seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a label, to list by.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Sets an environment variable for everything that runs inside.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.envs.insert(name.into(), value.into());
        self
    }

    /// `false` cuts it off the outside.
    #[must_use]
    pub fn allow_internet_access(mut self, allow: bool) -> Self {
        self.allow_internet_access = Some(allow);
        self
    }

    pub(crate) fn into_request(self) -> NewSandbox {
        NewSandbox {
            template_id: self.template.unwrap_or_else(|| "base".to_owned()),
            timeout: self.timeout.map(seconds),
            metadata: Some(self.metadata),
            env_vars: Some(self.envs),
            allow_internet_access: self.allow_internet_access,
            ..NewSandbox::default()
        }
    }
}

/// Whole seconds, rounded up: nobody gets less time than asked for.
pub(crate) fn seconds(duration: Duration) -> i64 {
    let whole = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    whole.saturating_add(i64::from(duration.subsec_nanos() > 0))
}

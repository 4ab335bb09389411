//! The two interfaces that clients speak: the REST API and the session API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// The REST API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Whether calls need a key. Without keys the server must listen on loopback only.
    pub(crate) require_keys: bool,
    /// Base domain of sandboxes' host names; unset: `localhost:<port of the first listener>`.
    pub(crate) domain: Option<String>,
    /// Sandboxes that one team may have at a time.
    pub(crate) max_sandboxes: u64,
    /// The longest life of a sandbox, in hours from its start.
    pub(crate) max_lifetime_hours: u64,
    /// Whether a create answers only when the code interpreter's kernel is ready.
    /// Without, the first cell waits instead.
    pub(crate) wait_for_interpreter: bool,
    /// What becomes of a pause that asks for memory where the host has no checkpoint
    /// tool: `refuse` it, or let it keep the `files` alone, as the sandbox then says.
    pub(crate) full_pause: FullPause,
    /// Whether webhooks may lead to this machine and into private networks, which
    /// whoever has a key could then make this server post into. Unset: only while all
    /// who have a key are on this machine (no `domain`, and listeners on loopback alone).
    pub(crate) private_webhooks: Option<bool>,
    /// How often one team may ask: by method and route as the API document
    /// spells them, `"POST /v2/sandboxes" = { burst = 50, period_s = 10 }`. None by default.
    pub(crate) rate_limits: BTreeMap<String, RateLimit>,
}

/// What becomes of a pause that asks for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FullPause {
    /// It is refused.
    Refuse,
    /// It keeps the files alone.
    Files,
}

/// A bucket of `burst` requests that fills again within `period_s`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    /// Requests at once.
    burst: u32,
    /// Seconds in which as many become free again.
    period_s: f64,
}

impl Api {
    /// Whether each rate limit names a route and can be kept.
    pub(super) fn check(&self) -> Result<()> {
        for (route, limit) in &self.rate_limits {
            if !control::document::has_operation(route) {
                bail!(
                    "api.rate_limits: {route:?} is no operation: spell method and route as GET /openapi.yaml \
                     does (\"POST /v2/sandboxes\", \"GET /sandboxes/{{sandboxID}}\")"
                );
            }
            if limit.burst == 0 || limit.period_s.is_nan() || limit.period_s <= 0.0 {
                bail!("api.rate_limits: {route:?} must have a burst and a period_s above 0");
            }
        }
        Ok(())
    }

    /// The limits as the control plane takes them.
    pub(crate) fn rate_limits(&self) -> BTreeMap<String, control::RateLimit> {
        let period = |limit: &RateLimit| Duration::try_from_secs_f64(limit.period_s).unwrap_or(Duration::MAX);
        let one = |limit: &RateLimit| control::RateLimit { burst: limit.burst, period: period(limit) };
        self.rate_limits.iter().map(|(route, limit)| (route.clone(), one(limit))).collect()
    }
}

/// The session API, for web applications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Session {
    /// The template of a session's sandbox.
    pub(crate) template: String,
    /// The template of one of type `custom`; unset: that type is refused.
    pub(crate) custom_template: Option<String>,
    /// The longest execution or installation, in seconds.
    pub(crate) execution_seconds: u64,
    /// The longest time without a call, in seconds; then the sandbox is closed.
    pub(crate) idle_seconds: u64,
    /// The longest life of a session's sandbox, in seconds from its start.
    pub(crate) life_seconds: u64,
    /// The largest uploaded file, in MiB.
    pub(crate) max_upload_mib: u64,
    /// What the URLs of artifacts begin with, such as `https://warren.example`;
    /// unset: the host that the request named.
    pub(crate) public_url: Option<String>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            require_keys: true,
            domain: None,
            max_sandboxes: 1000,
            max_lifetime_hours: 24,
            wait_for_interpreter: true,
            full_pause: FullPause::Refuse,
            private_webhooks: None,
            rate_limits: BTreeMap::new(),
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            template: "code-interpreter-v1".to_owned(),
            custom_template: None,
            execution_seconds: 300,
            idle_seconds: 1800,
            life_seconds: 3600,
            max_upload_mib: 1024,
            public_url: None,
        }
    }
}

impl Session {
    /// Whether a session could do anything.
    pub(super) fn check(&self) -> Result<()> {
        for (key, seconds) in [
            ("session.execution_seconds", self.execution_seconds),
            ("session.idle_seconds", self.idle_seconds),
            ("session.life_seconds", self.life_seconds),
        ] {
            if seconds == 0 {
                bail!("{key} must be above 0");
            }
        }
        Ok(())
    }
}

//! What a sandbox had to tell: lines that its daemon and the server wrote down.

use std::collections::BTreeMap;
use std::time::SystemTime;

use wire::rest::{SandboxLogEntry, SandboxLogs};

use super::{Sandbox, missing, moment};
use crate::api::{Api, segment};
use crate::http::query;
use crate::rpc::Target;
use crate::{Config, Error};

/// One line of a sandbox's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: SystemTime,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What happened.
    pub message: String,
    /// Facts about it.
    pub fields: BTreeMap<String, String>,
}

impl From<SandboxLogEntry> for LogLine {
    fn from(entry: SandboxLogEntry) -> Self {
        let SandboxLogEntry { timestamp, message, level, fields } = entry;
        Self { at: moment(timestamp), level, message, fields }
    }
}

impl Sandbox {
    /// What it had to tell from a moment on, oldest first; without one from its
    /// start. The server gives at most 1,000 lines unless a limit says another
    /// number. Also good for a sandbox that sleeps or has ended ([`Sandbox::detached`]).
    pub async fn logs(
        &self,
        start: Option<SystemTime>,
        limit: impl Into<Option<u32>> + Send,
    ) -> Result<Vec<LogLine>, Error> {
        let millis = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_millis());
        let pairs = [
            ("start", start.map(|at| millis(at).to_string())),
            ("limit", limit.into().map(|limit| limit.to_string())),
        ];
        let path = format!("/sandboxes/{}/logs{}", segment(self.id())?, query(&pairs));
        let answer: SandboxLogs = self.api.get(&path).await.map_err(missing)?;
        Ok(answer.log_entries.into_iter().map(LogLine::from).collect())
    }

    /// A handle that knows nothing but an id, and asks nobody whether it exists:
    /// good for calls of the control plane. Nothing inside a secure sandbox
    /// answers to it; [`Sandbox::connect`] makes one with tokens, and wakes a
    /// sandbox that sleeps.
    pub fn detached(config: &Config, sandbox_id: &str) -> Result<Self, Error> {
        let target = Target::new(config, segment(sandbox_id)?.to_owned(), None, None, None)?;
        Ok(Self { api: Api::new(config), target })
    }
}

//! A handle of one sandbox, and the calls about sandboxes as a whole.

mod diff;
mod info;
mod lifecycle;
mod list;
mod logs;
pub(crate) mod mcp;
mod network;
mod options;
mod scoped;
mod urls;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use wire::rest::{self, SandboxDetail, TimeoutRequest};

pub use self::diff::Change;
pub use self::info::{Metrics, SandboxInfo, SandboxState};
pub(crate) use self::info::{moment, unix_seconds};
pub use self::list::{ListQuery, SnapshotInfo, SnapshotQuery};
pub use self::logs::LogLine;
pub use self::network::{ALL_TRAFFIC, Network};
pub(crate) use self::options::seconds;
pub use self::options::{ConnectOptions, CreateOptions, OnTimeout, SnapshotMode};
pub use self::scoped::ScopedSandbox;
pub(crate) use self::scoped::kill_later;
use crate::api::{Api, json, segment};
use crate::code::{CodeBuilder, Contexts};
use crate::commands::Commands;
use crate::files::Files;
use crate::git::Git;
use crate::pty::Pty;
use crate::rpc::Target;
use crate::{Config, Error, ErrorKind};

/// Id that stands for the one debug sandbox.
const DEBUG_ID: &str = "debug_sandbox_id";

/// One sandbox. Cheap to clone; dropping it leaves the sandbox as it is
/// ([`Sandbox::scoped`] makes one that does not).
#[derive(Debug, Clone)]
pub struct Sandbox {
    pub(crate) api: Api,
    pub(crate) target: Arc<Target>,
}

impl Sandbox {
    /// Creates a sandbox of template `base` and waits until it is usable.
    pub async fn create(config: &Config) -> Result<Self, Error> {
        Self::create_with(config, CreateOptions::new()).await
    }

    /// Creates a sandbox and waits until it is usable. Dropping the future may
    /// leave one behind, which ends at its timeout.
    pub async fn create_with(config: &Config, options: CreateOptions) -> Result<Self, Error> {
        let api = Api::new(config);
        let servers = options.mcp_servers().cloned();
        let (request, headers) = options.into_request()?;
        if config.debug {
            return Self::debug(api);
        }
        let answer = api.send(Method::POST, "/v2/sandboxes", Some(json(&request)?), headers).await?;
        let sandbox = Self::handle(api, answer.json()?)?;
        if let Some(servers) = servers {
            mcp::start(&sandbox, &servers).await?;
        }
        Ok(sandbox)
    }

    /// Attaches to a sandbox that exists, wakes it if it is paused, and makes it
    /// live at least `timeout` from now (never shorter than before).
    pub async fn connect(
        config: &Config,
        sandbox_id: &str,
        timeout: impl Into<Option<Duration>> + Send,
    ) -> Result<Self, Error> {
        let options = timeout.into().map_or_else(ConnectOptions::new, |t| ConnectOptions::new().timeout(t));
        Self::connect_with(config, sandbox_id, options).await
    }

    /// [`Sandbox::connect`] with further options.
    pub async fn connect_with(
        config: &Config,
        sandbox_id: &str,
        options: ConnectOptions,
    ) -> Result<Self, Error> {
        let api = Api::new(config);
        if config.debug {
            return Self::debug(api);
        }
        let path = format!("/v2/sandboxes/{}/connect", segment(sandbox_id)?);
        let found = api.post(&path, &options.into_request()).await.map_err(missing)?;
        Self::handle(api, found)
    }

    fn debug(api: Api) -> Result<Self, Error> {
        let target = Target::new(&api.config, DEBUG_ID.to_owned(), None, None, None)?;
        Ok(Self { api, target })
    }

    fn handle(api: Api, told: rest::Sandbox) -> Result<Self, Error> {
        let rest::Sandbox { sandbox_id, domain, envd_access_token, traffic_access_token, .. } = told;
        let target = Target::new(&api.config, sandbox_id, domain, envd_access_token, traffic_access_token)?;
        Ok(Self { api, target })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.target.sandbox_id
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.api.config
    }

    /// What its ports demand as `e2b-traffic-access-token`, if they do.
    pub fn traffic_access_token(&self) -> Option<&str> {
        self.target.traffic_token.as_deref()
    }

    /// What the server tells of it.
    pub async fn info(&self) -> Result<SandboxInfo, Error> {
        Self::info_of(&self.api.config, self.id()).await
    }

    /// What the server tells of a sandbox.
    pub async fn info_of(config: &Config, sandbox_id: &str) -> Result<SandboxInfo, Error> {
        let path = format!("/sandboxes/{}", segment(sandbox_id)?);
        let detail: SandboxDetail = Api::new(config).get(&path).await.map_err(missing)?;
        Ok(detail.into())
    }

    /// What became of a sandbox that ended not long ago. Of this server alone:
    /// E2B's own has no such call.
    pub async fn record_of(config: &Config, sandbox_id: &str) -> Result<wire::rest::SandboxRecord, Error> {
        let path = format!("/sandboxes/{}/record", segment(sandbox_id)?);
        Api::new(config).get(&path).await.map_err(missing)
    }

    /// Whether it runs: its daemon answers.
    pub async fn is_running(&self) -> Result<bool, Error> {
        Ok(self.target.health(self.api.config.request_timeout).await?.is_some())
    }

    /// Ends it `timeout` from now, sooner or later than before.
    pub async fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        if self.api.config.debug {
            return Ok(());
        }
        let request = TimeoutRequest { timeout: seconds(timeout) };
        self.act("timeout", &request).await
    }

    /// Ends it now. `false` if it was gone already.
    pub async fn kill(&self) -> Result<bool, Error> {
        Self::kill_id(&self.api.config, self.id()).await
    }

    /// Ends a sandbox by id. `false` if there is none.
    pub async fn kill_id(config: &Config, sandbox_id: &str) -> Result<bool, Error> {
        if config.debug {
            return Ok(true);
        }
        Api::new(config).delete(&format!("/sandboxes/{}", segment(sandbox_id)?)).await
    }

    /// Runs programs inside.
    pub fn commands(&self) -> Commands<'_> {
        Commands { target: &self.target }
    }

    /// Runs terminals inside.
    pub fn pty(&self) -> Pty<'_> {
        Pty { target: &self.target }
    }

    /// Reads and writes files inside.
    pub fn files(&self) -> Files<'_> {
        Files { target: &self.target, user: None }
    }

    /// Works with repositories inside.
    pub fn git(&self) -> Git<'_> {
        Git::new(self)
    }

    /// Runs code in the interpreter, with state between calls; needs a template
    /// that has one, such as `code-interpreter-v1`.
    pub fn run_code(&self, code: impl Into<String>) -> CodeBuilder<'_> {
        CodeBuilder::new(&self.target, code.into())
    }

    /// The interpreter's contexts: states that do not see each other.
    pub fn code_contexts(&self) -> Contexts<'_> {
        Contexts { target: &self.target }
    }

    /// Asks for something about this sandbox; the answer has no body.
    async fn act<Q: serde::Serialize + Sync>(&self, verb: &str, body: &Q) -> Result<(), Error> {
        let path = format!("/sandboxes/{}/{verb}", self.id());
        self.api.send_json(Method::POST, &path, body).await.map_err(missing)
    }
}

fn missing(error: Error) -> Error {
    error.refine(ErrorKind::NotFound, ErrorKind::SandboxNotFound)
}

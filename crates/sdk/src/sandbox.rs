//! A handle of one sandbox, and the calls about sandboxes as a whole.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use wire::control::ENVD_PORT;
use wire::rest::{self, ConnectRequest, ListedSandbox, SandboxDetail, TimeoutRequest};

use crate::api::Api;
use crate::commands::Commands;
use crate::files::Files;
use crate::options::seconds;
use crate::rpc::Target;
use crate::{CodeBuilder, Config, CreateOptions, Error, ErrorKind};

/// Id that stands for the one debug sandbox.
const DEBUG_ID: &str = "debug_sandbox_id";

/// One sandbox. Cheap to clone; dropping it leaves the sandbox as it is.
#[derive(Debug, Clone)]
pub struct Sandbox {
    api: Api,
    target: Target,
}

/// Where a sandbox stands.
pub use rest::SandboxState;

/// What the server tells of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxInfo {
    /// Its id.
    pub sandbox_id: String,
    /// The template it is based on.
    pub template_id: String,
    /// The template's first alias.
    pub alias: Option<String>,
    /// Where it stands.
    pub state: SandboxState,
    /// When it became usable.
    pub started_at: SystemTime,
    /// When it will end.
    pub end_at: SystemTime,
    /// Processors.
    pub cpu_count: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Disk, in MiB.
    pub disk_mib: u64,
    /// The user's own labels.
    pub metadata: BTreeMap<String, String>,
    /// Which barrier holds, where the server tells it.
    pub isolation: Option<String>,
}

impl Sandbox {
    /// Creates a sandbox of template `base` and waits until it is usable.
    pub async fn create(config: &Config) -> Result<Self, Error> {
        Self::create_with(config, CreateOptions::new()).await
    }

    /// Creates a sandbox and waits until it is usable. Dropping the future may
    /// leave one behind, which ends at its timeout.
    pub async fn create_with(config: &Config, options: CreateOptions) -> Result<Self, Error> {
        let api = Api::new(config)?;
        if config.debug {
            return Ok(Self::handle(api, DEBUG_ID.to_owned(), None, None));
        }
        let made: rest::Sandbox = api.post("/v2/sandboxes", &options.into_request()).await?;
        Ok(Self::handle(api, made.sandbox_id, made.domain, made.envd_access_token))
    }

    /// Attaches to a sandbox that exists, wakes it if it is paused, and makes it
    /// live at least `timeout` from now (never shorter than before).
    pub async fn connect(
        config: &Config,
        sandbox_id: &str,
        timeout: impl Into<Option<Duration>> + Send,
    ) -> Result<Self, Error> {
        let api = Api::new(config)?;
        if config.debug {
            return Ok(Self::handle(api, DEBUG_ID.to_owned(), None, None));
        }
        let request = ConnectRequest { timeout: timeout.into().map(seconds), memory: None };
        let path = format!("/v2/sandboxes/{}/connect", segment(sandbox_id)?);
        let found: rest::Sandbox = api
            .post(&path, &request)
            .await
            .map_err(|e| e.refine(ErrorKind::NotFound, ErrorKind::SandboxNotFound))?;
        Ok(Self::handle(api, found.sandbox_id, found.domain, found.envd_access_token))
    }

    fn handle(api: Api, sandbox_id: String, domain: Option<String>, access_token: Option<String>) -> Self {
        let (http, config) = (api.http.clone(), api.config.clone());
        Self { api, target: Target { http, config, sandbox_id, domain, access_token } }
    }

    /// All sandboxes of the key's team, newest first; follows the pages.
    pub async fn list(config: &Config) -> Result<Vec<SandboxInfo>, Error> {
        let api = Api::new(config)?;
        let listed: Vec<ListedSandbox> = api.get_pages("/v2/sandboxes").await?;
        Ok(listed.into_iter().map(SandboxInfo::from).collect())
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.target.sandbox_id
    }

    /// What the server tells of it.
    pub async fn info(&self) -> Result<SandboxInfo, Error> {
        let detail: SandboxDetail =
            self.api.get(&format!("/sandboxes/{}", self.id())).await.map_err(missing)?;
        Ok(detail.listed.into())
    }

    /// Whether it runs: its daemon answers.
    pub async fn is_running(&self) -> Result<bool, Error> {
        let url = format!("{}/health", self.target.url(ENVD_PORT));
        let response = self
            .target
            .http
            .send(Method::GET, &url, self.target.headers(ENVD_PORT), bytes::Bytes::new())
            .await?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::BAD_GATEWAY => Ok(false),
            status => Err(Error::from_status(status.as_u16(), "unexpected answer of the health check")),
        }
    }

    /// Ends it `timeout` from now, sooner or later than before.
    pub async fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        if self.api.config.debug {
            return Ok(());
        }
        let request = TimeoutRequest { timeout: seconds(timeout) };
        self.api.post_empty(&format!("/sandboxes/{}/timeout", self.id()), &request).await.map_err(missing)
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
        Api::new(config)?.delete(&format!("/sandboxes/{}", segment(sandbox_id)?)).await
    }

    /// Host name of a port, to be reached from outside, without a scheme.
    pub fn host(&self, port: u16) -> String {
        if self.api.config.debug {
            return format!("localhost:{port}");
        }
        let domain = self.target.domain.as_deref().filter(|domain| !domain.is_empty());
        format!("{port}-{}.{}", self.id(), domain.unwrap_or(&self.api.config.domain))
    }

    /// Runs programs inside.
    pub fn commands(&self) -> Commands<'_> {
        Commands { target: &self.target }
    }

    /// Reads and writes files inside.
    pub fn files(&self) -> Files<'_> {
        Files { target: &self.target }
    }

    /// Runs code in the interpreter, with state between calls; needs a template
    /// that has one, such as `code-interpreter-v1`.
    pub fn run_code(&self, code: impl Into<String>) -> CodeBuilder<'_> {
        CodeBuilder::new(&self.target, code.into())
    }
}

fn missing(error: Error) -> Error {
    error.refine(ErrorKind::NotFound, ErrorKind::SandboxNotFound)
}

/// An id as a path segment: anything that needs escaping is no id.
fn segment(sandbox_id: &str) -> Result<&str, Error> {
    let plain = !sandbox_id.is_empty()
        && sandbox_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain {
        Ok(sandbox_id)
    } else {
        Err(Error::new(ErrorKind::InvalidArgument, format!("{sandbox_id:?} is no sandbox id")))
    }
}

impl From<ListedSandbox> for SandboxInfo {
    fn from(listed: ListedSandbox) -> Self {
        Self {
            sandbox_id: listed.sandbox_id,
            template_id: listed.template_id,
            alias: listed.alias,
            state: listed.state,
            started_at: moment(listed.started_at),
            end_at: moment(listed.end_at),
            cpu_count: listed.cpu_count,
            memory_mib: listed.memory_mb,
            disk_mib: listed.disk_size_mb,
            metadata: listed.metadata.unwrap_or_default(),
            isolation: listed.isolation,
        }
    }
}

fn moment(at: rest::Rfc3339) -> SystemTime {
    let micros = u64::try_from(at.unix_micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

//! The server that is measured: one of our own, or somebody's that runs already.

use std::fs;

use anyhow::Context as _;

use crate::http::Connection;
use crate::raw::Sandbox;
use crate::server::{Options, Server};
use crate::{build, packages, repo};

/// A registry that our server speaks to without TLS.
pub(super) const REGISTRY: &str = "127.0.0.1:5898";

/// Settings that keep our server out of the way of one that people use, and let
/// many idle sandboxes find room on a small machine.
const APART: &str = "instance = \"bench\"\n\
                     [network]\nrange = \"10.214.0.0/16\"\ninterface_prefix = \"wb\"\n\
                     [images]\nplain_http = [\"127.0.0.1:5898\"]\n\
                     [node]\nfirst_uid = 500000000\nmemory_overcommit = 50.0\ndisk_overcommit = 200.0\n";

/// Further settings of a server whose creates do not wait for the kernel.
const NO_WAIT: &str = "[api]\nwait_for_interpreter = false\n";

/// Where requests go, and with which key.
#[derive(Debug)]
pub(super) struct Target {
    address: String,
    api_key: String,
    /// Ours to stop.
    server: Option<Server>,
}

impl Target {
    /// A server that runs already: `http://host:port`.
    pub(super) fn running(url: &str, api_key: String) -> anyhow::Result<Self> {
        let address = url.strip_prefix("http://").context("measure over plain HTTP: http://host:port")?;
        Ok(Self { address: address.trim_end_matches('/').to_owned(), api_key, server: None })
    }

    /// A server that a test has started and will stop.
    pub(super) fn of(server: &Server) -> Self {
        Self { address: server.address.clone(), api_key: server.api_key.clone(), server: None }
    }

    /// A server of our own.
    pub(super) fn start() -> anyhow::Result<Self> {
        Self::start_with(APART)
    }

    /// A server of our own whose creates do not wait for the interpreter's kernel.
    pub(super) fn start_without_waiting() -> anyhow::Result<Self> {
        Self::start_with(&[APART, NO_WAIT].concat())
    }

    fn start_with(settings: &str) -> anyhow::Result<Self> {
        packages::ensure(packages::SERVER, true)?;
        let warren = build::warren()?;
        let config = repo::tools().join("bench.toml");
        fs::create_dir_all(repo::tools()).context("make the directory of the settings")?;
        fs::write(&config, settings).context("write the server's settings")?;
        let options = Options { warren: &warren, state: &repo::state(), debug_ports: false, domain: None };
        let server = Server::start_with(&options, &["--config".as_ref(), config.as_os_str()])?;
        let (address, api_key) = (server.address.clone(), server.api_key.clone());
        Ok(Self { address, api_key, server: Some(server) })
    }

    /// Creates a sandbox that lives at most ten minutes.
    pub(super) fn create(&self, template: &str) -> anyhow::Result<Sandbox> {
        Sandbox::create_over(Connection::open(&self.address)?, &self.api_key, template, 600)
    }

    /// One call of the REST API; its answer, or nothing where there is none.
    pub(super) fn call(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let headers = [("X-API-Key", self.api_key.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.connect()?.request(method, path, &headers, &body)?;
        answer.ok().with_context(|| format!("{method} {path}"))?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// The header that every call brings.
    pub(super) fn key(&self) -> [(&str, &str); 1] {
        [("X-API-Key", self.api_key.as_str())]
    }

    /// Another connection to it.
    pub(super) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.address)
    }

    /// Forgets a snapshot.
    pub(super) fn delete_snapshot(&self, id: &str) -> anyhow::Result<()> {
        let path = format!("/templates/{}", id.split(':').next().unwrap_or(id));
        self.connect()?.request("DELETE", &path, &[("X-API-Key", &self.api_key)], b"")?.ok()
    }

    /// `host:port` of its listener.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A key that it accepts.
    pub(super) fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Stops what we started.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.server.map_or(Ok(()), Server::stop)
    }
}

//! The gateway to MCP servers that a sandbox can run.

use serde_json::Value;

use super::Sandbox;
use crate::shell::quote;
use crate::{Error, ErrorKind, retry};

/// Where the gateway listens.
const PORT: u16 = 50005;
/// Where it keeps its token.
const TOKEN_PATH: &str = "/etc/mcp-gateway/.token";

/// Starts the gateway; a sandbox whose gateway does not start is of no use and is killed.
pub(crate) async fn start(sandbox: &Sandbox, servers: &Value) -> Result<(), Error> {
    let line = format!("mcp-gateway --config {}", quote(&servers.to_string()));
    let run = sandbox.commands().run(line).user("root").env("GATEWAY_ACCESS_TOKEN", retry::key()?).await;
    let failure = match run {
        Ok(output) if output.exit_code == 0 => return Ok(()),
        Ok(output) => {
            Error::new(ErrorKind::Sandbox, format!("Failed to start MCP gateway: {}", output.stderr))
        }
        Err(e) => e,
    };
    if let Err(left) = sandbox.kill().await {
        tracing::warn!(sandbox_id = sandbox.id(), error = %left, "a sandbox without its gateway was left behind");
    }
    Err(failure)
}

impl Sandbox {
    /// URL of its MCP gateway.
    pub fn mcp_url(&self) -> String {
        format!("https://{}/mcp", self.host(PORT))
    }

    /// What the gateway demands as a bearer token.
    pub async fn mcp_token(&self) -> Result<String, Error> {
        self.files().user("root").read(TOKEN_PATH).await
    }
}

//! Where the server is and how to reach its sandboxes; read from the same
//! environment variables as the official SDKs. The only file that reads them.

use std::env;
use std::time::Duration;

use crate::Error;

/// Connection settings. Cheap to clone.
#[derive(Clone)]
pub struct Config {
    /// Sent as `X-API-Key`; empty in debug mode.
    pub api_key: String,
    /// Base of control-plane calls, without a trailing slash.
    pub api_url: String,
    /// Base of all sandbox traffic, routed by headers; `None` uses host names below `domain`.
    pub sandbox_url: Option<String>,
    /// Domain below which each sandbox's ports have host names.
    pub domain: String,
    /// Talk to the one debug sandbox on this machine and call no API.
    pub debug: bool,
    /// Bound of one request, and of the wait for the first byte of a stream.
    pub request_timeout: Duration,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("api_url", &self.api_url)
            .field("sandbox_url", &self.sandbox_url)
            .field("domain", &self.domain)
            .field("debug", &self.debug)
            .finish_non_exhaustive()
    }
}

/// Domains whose sandboxes are reached through one shared host and headers.
const SHARED_HOST_DOMAINS: [&str; 7] = [
    "e2b.app",
    "e2b.dev",
    "e2b.pro",
    "e2b-staging.dev",
    "e2b-tango.dev",
    "e2b-juliett.dev",
    "foxtrot-2.e2b.dev",
];

impl Config {
    /// Settings for a server at `url`, whose one listener serves API and sandboxes.
    pub fn local(url: impl Into<String>, api_key: impl Into<String>) -> Self {
        let url = url.into().trim_end_matches('/').to_owned();
        Self {
            api_key: api_key.into(),
            api_url: url.clone(),
            sandbox_url: Some(url),
            domain: "localhost".to_owned(),
            debug: false,
            request_timeout: Duration::from_mins(1),
        }
    }

    /// Reads `E2B_API_KEY`, `E2B_API_URL`, `E2B_SANDBOX_URL`, `E2B_DOMAIN` and `E2B_DEBUG`.
    /// Fails when no key is set outside of debug mode.
    pub fn from_env() -> Result<Self, Error> {
        let get = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let debug = get("E2B_DEBUG").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let domain = get("E2B_DOMAIN").unwrap_or_else(|| "e2b.app".to_owned());
        let default_api =
            if debug { "http://localhost:3000".to_owned() } else { format!("https://api.{domain}") };
        let trim = |url: String| url.trim_end_matches('/').to_owned();
        let api_key = match get("E2B_API_KEY") {
            Some(key) => key,
            None if debug => String::new(),
            None => return Err(Error::authentication("no API key: set E2B_API_KEY")),
        };
        Ok(Self {
            api_key,
            api_url: trim(get("E2B_API_URL").unwrap_or(default_api)),
            sandbox_url: get("E2B_SANDBOX_URL").map(trim),
            domain,
            debug,
            request_timeout: Duration::from_mins(1),
        })
    }

    /// Whether any URL that these settings lead to is https.
    pub(crate) fn needs_tls(&self) -> bool {
        let plain = |url: &str| url.starts_with("http://");
        !plain(&self.api_url) || !(self.debug || self.sandbox_url.as_deref().is_some_and(plain))
    }

    /// Base URL of a port of a sandbox; requests to it carry routing headers too.
    pub(crate) fn port_url(&self, sandbox_id: &str, domain: Option<&str>, port: u16) -> String {
        let domain = domain.filter(|domain| !domain.is_empty()).unwrap_or(&self.domain);
        match &self.sandbox_url {
            _ if self.debug => format!("http://localhost:{port}"),
            Some(url) => url.clone(),
            None if SHARED_HOST_DOMAINS.contains(&domain) => format!("https://sandbox.{domain}"),
            None => format!("https://{port}-{sandbox_id}.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_the_urls_of_the_official_sdks() {
        let mut config = Config::local("http://127.0.0.1:3000/", "k");
        assert_eq!(config.port_url("i1", None, 49983), "http://127.0.0.1:3000");
        config.sandbox_url = None;
        assert_eq!(config.port_url("i1", Some("e2b.app"), 49983), "https://sandbox.e2b.app");
        assert_eq!(config.port_url("i1", Some("own.example"), 49999), "https://49999-i1.own.example");
        assert_eq!(config.port_url("i1", None, 8000), "https://8000-i1.localhost");
        config.debug = true;
        assert_eq!(config.port_url("i1", None, 49999), "http://localhost:49999");
    }
}

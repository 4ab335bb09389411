//! Where the server is and how to reach its sandboxes; read from the same
//! environment variables as the official SDKs. The only file that reads them.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use crate::http::{Http, PoolSettings};
use crate::{Error, ErrorKind};

/// Connection settings, and the pool of connections that everything made from
/// them shares. Cheap to clone.
#[derive(Clone)]
pub struct Config {
    /// Sent as `X-API-Key`; empty in debug mode.
    pub api_key: String,
    /// Base of control-plane calls, without a trailing slash.
    pub api_url: String,
    /// Base of all sandbox traffic, routed by headers; `None` uses host names below `domain`.
    pub sandbox_url: Option<String>,
    /// Base of the calls about a volume's content; `None` is `https://api.` and the domain.
    pub volume_api_url: Option<String>,
    /// Domain below which each sandbox's ports have host names.
    pub domain: String,
    /// Talk to the one debug sandbox on this machine and call no API.
    pub debug: bool,
    /// Bound of one request, and of the wait for the first byte of a stream.
    pub request_timeout: Duration,
    /// How often a call of the control plane is sent again (default 3).
    pub retries: u32,
    /// Headers added to calls of the control plane.
    pub api_headers: BTreeMap<String, String>,
    /// Headers added to everything that goes to sandboxes.
    pub sandbox_headers: BTreeMap<String, String>,
    pub(crate) http: Http,
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
            sandbox_url: Some(url.clone()),
            volume_api_url: Some(url),
            domain: "localhost".to_owned(),
            debug: false,
            request_timeout: Duration::from_mins(1),
            retries: 3,
            api_headers: BTreeMap::new(),
            sandbox_headers: BTreeMap::new(),
            http: Http::new(PoolSettings::default()),
        }
    }

    /// Reads `E2B_API_KEY`, `E2B_API_URL`, `E2B_SANDBOX_URL`, `E2B_VOLUME_API_URL`,
    /// `E2B_DOMAIN`, `E2B_DEBUG`, and for the pool `E2B_CONNECTION_RETRIES`,
    /// `E2B_KEEPALIVE_EXPIRY` and `E2B_MAX_KEEPALIVE_CONNECTIONS`.
    /// Fails when no key is set outside of debug mode.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// [`Config::from_env`], with something to fall back on: `default` is asked
    /// by the name of each variable that is not set.
    pub fn from_env_or(default: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let own = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self::from_variables(|name| own(name).or_else(|| default(name)))
    }

    /// The same settings from somewhere else than the environment: `read` is
    /// asked by the name of each variable.
    pub fn from_variables(read: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| read(name).filter(|value| !value.is_empty());
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
        let url = trim(get("E2B_API_URL").unwrap_or(default_api));
        Ok(Self {
            sandbox_url: get("E2B_SANDBOX_URL").map(trim),
            volume_api_url: get("E2B_VOLUME_API_URL").map(trim),
            domain,
            debug,
            http: Http::new(pool(&get)?),
            ..Self::local(url, api_key)
        })
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

    /// Base URL of a volume's content; `domain` is what the server told of it.
    pub(crate) fn volume_url(&self, domain: Option<&str>) -> String {
        match &self.volume_api_url {
            Some(url) => url.clone(),
            None if self.debug => "http://localhost:8080".to_owned(),
            None => format!("https://api.{}", domain.unwrap_or(&self.domain)),
        }
    }
}

fn pool(get: &impl Fn(&str) -> Option<String>) -> Result<PoolSettings, Error> {
    let number = |name: &str, default: u32| match get(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|e| {
            Error::caused(
                ErrorKind::InvalidArgument,
                format!("{name} must be a whole number, not {text:?}"),
                e,
            )
        }),
    };
    let default = PoolSettings::default();
    let max_idle = number("E2B_MAX_KEEPALIVE_CONNECTIONS", 20)?;
    Ok(PoolSettings {
        connection_retries: number("E2B_CONNECTION_RETRIES", default.connection_retries)?,
        idle: Duration::from_secs(number("E2B_KEEPALIVE_EXPIRY", 300)?.into()),
        max_idle: usize::try_from(max_idle).unwrap_or(usize::MAX),
    })
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

    fn from(variables: &[(&str, &str)]) -> Result<Config, Error> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        Config::from_variables(find)
    }

    #[test]
    fn the_environment_means_what_it_means_to_the_official_sdks() {
        assert_eq!(from(&[]).unwrap_err().kind(), ErrorKind::Authentication);
        let cloud = from(&[("E2B_API_KEY", "k")]).unwrap();
        assert_eq!((cloud.api_url.as_str(), cloud.sandbox_url.as_deref()), ("https://api.e2b.app", None));
        assert_eq!(cloud.volume_url(None), "https://api.e2b.app");
        assert_eq!(cloud.volume_url(Some("own.example")), "https://api.own.example");

        let own = [
            ("E2B_API_KEY", "k"),
            ("E2B_API_URL", "http://a:1/"),
            ("E2B_SANDBOX_URL", "http://b:2"),
            ("E2B_VOLUME_API_URL", "http://c:3"),
            ("E2B_DOMAIN", "own.example"),
        ];
        let own = from(&own).unwrap();
        assert_eq!((own.api_url.as_str(), own.volume_url(None).as_str()), ("http://a:1", "http://c:3"));
        assert_eq!(own.port_url("i1", None, 1), "http://b:2");

        let debug = from(&[("E2B_DEBUG", "TRUE")]).unwrap();
        assert_eq!((debug.api_url.as_str(), debug.debug), ("http://localhost:3000", true));
        assert_eq!(debug.volume_url(None), "http://localhost:8080");
        let wrong = from(&[("E2B_API_KEY", "k"), ("E2B_CONNECTION_RETRIES", "many")]).unwrap_err();
        assert!(wrong.to_string().contains("E2B_CONNECTION_RETRIES"), "{wrong}");
    }
}

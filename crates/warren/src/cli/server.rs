//! Where the server is: variables of the environment first, else what
//! `warren auth login` stored.
//!
//! A stored key goes to the stored address alone: whoever names another server
//! by a variable names its key too.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sdk::{Config, Sandbox, SandboxState};
use serde::{Deserialize, Serialize};

use crate::config::variable;

/// What a local `warren up` listens on.
pub(super) const DEFAULT_URL: &str = "http://localhost:3000";

/// Variables that name another server than the stored one.
const ADDRESSES: [&str; 4] = ["E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN", "E2B_DEBUG"];

/// What a log-in leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    /// The server's address, where one listener serves everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// Or its domain: `https://api.DOMAIN`, and a host name for each port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    pub(super) api_key: String,
}

impl Stored {
    /// The value that it puts in a variable's place.
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "E2B_API_KEY" => Some(self.api_key.clone()),
            "E2B_API_URL" | "E2B_SANDBOX_URL" => self.url.clone(),
            "E2B_DOMAIN" => Some(self.domain.clone().unwrap_or_else(|| "localhost".to_owned())),
            _ => None,
        }
    }

    /// The address as people name it.
    pub(super) fn address(&self) -> &str {
        self.url.as_deref().or(self.domain.as_deref()).unwrap_or(DEFAULT_URL)
    }

    /// Settings of the client library for it.
    pub(super) fn config(&self) -> Result<Config> {
        Config::from_variables(|name| self.variable(name)).context("read the stored address")
    }
}

/// The file with what is stored.
pub(super) fn file() -> Result<PathBuf> {
    let own = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = own.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")));
    let base = base.context("find a place for settings: neither XDG_CONFIG_HOME nor HOME is set")?;
    Ok(base.join("warren/credentials.toml"))
}

/// What is stored, if anything is.
pub(super) fn stored() -> Result<Option<Stored>> {
    // Without a home there is nothing stored.
    let Ok(file) = file() else { return Ok(None) };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("read {}", file.display())),
    };
    let stored = toml::from_str(&text);
    stored
        .map(Some)
        .with_context(|| format!("{} is damaged: `warren auth login` writes it anew", file.display()))
}

/// Stores a log-in where only its owner can read it.
pub(super) fn store(stored: &Stored) -> Result<PathBuf> {
    let file = file()?;
    let dir = file.parent().context("the file has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let text = toml::to_string(stored).context("write the settings")?;
    // Beside it and moved over it: never half a file, and never the mode of an older one.
    let new = file.with_extension(format!("{}.new", std::process::id()));
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, &file))
        .with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

/// Whether a variable names another server than the stored one.
pub(super) fn overridden() -> Option<&'static str> {
    ADDRESSES.into_iter().find(|name| variable(name).is_some())
}

/// The settings that commands use.
pub(super) fn config() -> Result<Config> {
    let stored = if overridden().is_some() { None } else { stored()? };
    Config::from_env_or(|name| stored.as_ref().and_then(|stored| stored.variable(name)))
        .context("find the server")
}

/// The address of the server's API for the operator's commands.
pub(super) fn api_url() -> Result<String> {
    let stored = if overridden().is_some() { None } else { stored()? };
    match stored {
        Some(stored) => Ok(stored.config()?.api_url),
        None => Ok(DEFAULT_URL.to_owned()),
    }
}

/// A handle of a sandbox that answers: one that sleeps is woken for the server's
/// default time; one that runs keeps its end.
pub(super) async fn attach(config: &Config, id: &str) -> Result<Sandbox> {
    let info = Sandbox::info_of(config, id).await.context("find the sandbox")?;
    let time = (info.state == SandboxState::Running).then_some(Duration::ZERO);
    Sandbox::connect(config, id, time).await.context("find the sandbox")
}

/// What a person names a server by: an address, which must be one.
pub(super) fn checked_url(url: &str) -> Result<String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        bail!("{url:?} is no address: it starts with http:// or https://");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_stands_for_the_variables() {
        let own = Stored { url: Some("http://h:1".into()), domain: None, api_key: "k".into() };
        let config = own.config().unwrap();
        assert_eq!(
            (config.api_url.as_str(), config.sandbox_url.as_deref()),
            ("http://h:1", Some("http://h:1"))
        );
        assert_eq!((config.domain.as_str(), own.address()), ("localhost", "http://h:1"));
        let named = Stored { url: None, domain: Some("sbx.example".into()), api_key: "k".into() };
        let config = named.config().unwrap();
        assert_eq!((config.api_url.as_str(), config.sandbox_url), ("https://api.sbx.example", None));
    }

    #[test]
    fn an_address_has_a_scheme() {
        assert_eq!(checked_url("https://h/").unwrap(), "https://h");
        assert!(checked_url("h:3000").unwrap_err().to_string().contains("http://"));
    }
}

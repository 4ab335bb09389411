//! Licences, sources and bans of every dependency, after `deny.toml`.
//!
//! `cargo deny` does it where it is installed. It takes minutes to build, so
//! elsewhere the same file is held here by a smaller reading of it: `licenses.allow`,
//! `licenses.exceptions`, `sources.allow-registry` and `bans.deny`.

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::spdx;
use super::table::{Metadata, Package};
use crate::command::{cargo, output, run};
use crate::tally::Skip;

#[derive(Debug, Deserialize)]
struct Deny {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// Refuses a package that `deny.toml` does not allow.
pub(super) fn check() -> anyhow::Result<Option<Skip>> {
    if output(cargo().args(["deny", "--version"])).is_ok_and(|output| output.status.success()) {
        run(cargo().args(["deny", "--workspace", "check", "licenses", "bans", "sources"]))?;
        return Ok(None);
    }
    println!("    (cargo-deny is not installed: reading deny.toml ourselves)");
    let text = std::fs::read_to_string(crate::repo::root().join("deny.toml")).context("read deny.toml")?;
    let deny: Deny = toml::from_str(&text).context("read deny.toml")?;
    let refused: Vec<String> =
        Metadata::read()?.packages.iter().filter_map(|package| deny.refusal(package)).collect();
    if !refused.is_empty() {
        bail!("{}", refused.join("; "));
    }
    Ok(None)
}

impl Deny {
    fn refusal(&self, package: &Package) -> Option<String> {
        let Package { name, version, .. } = package;
        if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == *name) {
            return Some(format!("{name} {version} is banned: {}", ban.reason));
        }
        if let Some(source) = &package.source
            && !self.sources.allow_registry.iter().any(|allowed| source.ends_with(allowed.as_str()))
        {
            return Some(format!("{name} {version} comes from {source}"));
        }
        let exception = self.licenses.exceptions.iter().find(|exception| exception.name == *name);
        let mut allowed = self.licenses.allow.clone();
        allowed.extend(exception.into_iter().flat_map(|exception| exception.allow.clone()));
        match &package.license {
            None => Some(format!("{name} {version} names no licence")),
            Some(licence) if spdx::is_met(licence, &allowed) => None,
            Some(licence) => Some(format!("{name} {version} is under {licence}")),
        }
    }
}

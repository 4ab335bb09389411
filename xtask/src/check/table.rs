//! Holds the table of ARCHITECTURE.md: which crate may use which. Dependencies
//! of tests are exempt.

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::command::{capture, cargo};

/// A crate, and the crates of ours that it may use.
const TABLE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &[]),
    ("sys", &[]),
    ("store", &["model"]),
    ("runtime", &["model", "sys"]),
    ("proxy", &["model", "wire"]),
    ("guest", &["wire", "sys"]),
    ("sdk", &["wire"]),
    ("node", &["model", "wire", "runtime"]),
    ("control", &["model", "wire", "store", "node"]),
    ("warren", &["model", "wire", "store", "runtime", "proxy", "sdk", "node", "control"]),
];

/// Crates that are no part of the product and may use anything.
const FREE: &[&str] = &["testkit", "xtask"];

/// `cargo metadata`, as far as the checks read it.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    pub(super) workspace_members: Vec<String>,
}

/// One package of the graph.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    pub(super) source: Option<String>,
    pub(super) manifest_path: std::path::PathBuf,
    pub(super) dependencies: Vec<Dependency>,
}

/// One line of a dependency table.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) rename: Option<String>,
    /// `null` for ordinary ones, else `dev` or `build`.
    pub(super) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo; everything it knows for the machine we run on.
    pub(super) fn read() -> anyhow::Result<Self> {
        let arguments = ["metadata", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"];
        let text = capture(cargo().args(arguments))?;
        serde_json::from_str(&text).context("read cargo metadata")
    }

    /// Our own crates.
    pub(super) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

/// Refuses a crate that the table does not know and a dependency it does not allow.
pub(super) fn check() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for package in Metadata::read()?.members() {
        let name = short(&package.name);
        if FREE.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = TABLE.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        wrong.extend(
            ours(package)
                .filter(|used| !allowed.contains(used))
                .map(|used| format!("{name} may not use {used}")),
        );
    }
    if !wrong.is_empty() {
        bail!("{} (the table is in ARCHITECTURE.md and xtask/src/check/table.rs)", wrong.join("; "));
    }
    Ok(())
}

/// Crates of ours in a crate's ordinary dependencies. Build scripts are exempt
/// too: `warren` builds the guest and does not link it.
fn ours(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.is_none())
        .map(|dependency| dependency.name.as_str())
        .filter(|name| is_ours(name))
        .map(short)
}

fn is_ours(name: &str) -> bool {
    let name = short(name);
    FREE.contains(&name) || TABLE.iter().any(|(known, _)| *known == name)
}

fn short(name: &str) -> &str {
    name.strip_prefix("warren-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_to_the_table() {
        check().unwrap();
    }

    /// Every crate uses only crates of a lower line, so there can be no cycle.
    #[test]
    fn the_table_is_in_order() {
        for (line, (name, allowed)) in TABLE.iter().enumerate() {
            for used in *allowed {
                let at = TABLE.iter().position(|(known, _)| known == used);
                assert!(at.is_some_and(|at| at < line), "{name} uses {used}, which is not above it");
            }
        }
    }
}

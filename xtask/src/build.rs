//! Builds the server, whose build script builds the guest and puts it inside, and
//! programs of tests that are to run elsewhere.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::command::{capture, cargo, run, say};

/// Builds `warren` and says where it is.
pub(crate) fn warren() -> anyhow::Result<PathBuf> {
    say("Building warren");
    run(cargo().args(["build", "--release", "--package", "warren"]))?;
    Ok(crate::repo::target().join("release/warren"))
}

/// Builds a test program of a package and says where it is.
pub(crate) fn test(package: &str, name: &str) -> anyhow::Result<PathBuf> {
    say(&format!("Building the test {name} of {package}"));
    let args =
        ["test", "--release", "--no-run", "--message-format", "json", "--package", package, "--test", name];
    let messages = capture(cargo().args(args))?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    });
    programs.next_back().with_context(|| format!("cargo names no program of the test {name}"))
}

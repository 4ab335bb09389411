//! Loads our rules, and looks whether rules of others stand in the way.

use std::io::Write;
use std::process::{Command, Stdio};

use super::config::NetworkConfig;
use super::error::Error;

/// Hands `nft` a script, which it carries out whole or not at all.
pub(super) fn load(script: &str) -> Result<(), Error> {
    run("nft", &["-f", "-"], script).map(drop)
}

/// Removes our table; safe when it is gone.
pub(super) fn unload(config: &NetworkConfig) -> Result<(), Error> {
    let name = &config.name;
    load(&format!("table inet {name}\ndelete table inet {name}\n"))
}

/// An accepting rule of ours does not help where another table drops forwarded
/// packets, as container engines and host firewalls set up. With `iptables` we
/// open the way for our own interfaces (our table still decides what passes);
/// `firewalld` we can only tell about. Returns what was done or should be, in words.
pub(super) fn make_way(config: &NetworkConfig) -> Vec<String> {
    let mut notes = Vec::new();
    let inside = format!("{}+", config.interface_prefix);
    let engine = run("iptables", &["-w", "5", "-S", "DOCKER-USER"], "").is_ok();
    let policy = run("iptables", &["-w", "5", "-S", "FORWARD"], "").unwrap_or_default();
    if engine || policy.contains("-P FORWARD DROP") {
        let chain = if engine { "DOCKER-USER" } else { "FORWARD" };
        notes.push(match accept_forwarding(chain, &inside) {
            Ok(()) => format!("let packets of {inside} pass the host's iptables chain {chain}"),
            Err(e) => format!("the host's iptables drop forwarded packets and could not be changed: {e}"),
        });
    }
    let tables = run("nft", &["list", "tables"], "").unwrap_or_default();
    if tables.contains("inet firewalld") {
        notes.push(format!(
            "firewalld is active; sandboxes reach nothing until `firewall-cmd --permanent --zone=trusted \
             --add-interface={inside}` and a reload"
        ));
    }
    notes
}

fn accept_forwarding(chain: &str, inside: &str) -> Result<(), Error> {
    for direction in ["-i", "-o"] {
        let rule = [chain, direction, inside, "-j", "ACCEPT"];
        let with = |action: &'static str| [&["-w", "5", action], &rule[..]].concat();
        if run("iptables", &with("-C"), "").is_err() {
            run("iptables", &with("-I"), "")?;
        }
    }
    Ok(())
}

fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, Error> {
    let fail = |message: String| Error::Program { program, message };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => fail(format!("not found; install the package {}", package(program))),
        _ => fail(e.to_string()),
    })?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|e| fail(e.to_string()))?;
    if !output.status.success() {
        return Err(fail(String::from_utf8_lossy(&output.stderr).trim().chars().take(600).collect()));
    }
    written.map_err(|e| fail(e.to_string()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn package(program: &'static str) -> &'static str {
    if program == "nft" { "nftables" } else { program }
}

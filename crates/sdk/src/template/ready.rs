//! Lines that succeed once a sandbox is up.

use std::time::Duration;

use crate::shell::quote;

/// When a sandbox counts as up: a line that is tried until it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready(String);

impl Ready {
    /// A line of one's own.
    pub fn command(line: impl Into<String>) -> Self {
        Self(line.into())
    }

    /// Something listens on a port.
    pub fn port(port: u16) -> Self {
        Self(format!("[ -n \"$(ss -Htuln sport = :{port})\" ]"))
    }

    /// A URL answers with this status.
    pub fn url(url: &str, status: u16) -> Self {
        Self(format!("curl -s -o /dev/null -w \"%{{http_code}}\" {} | grep -q \"{status}\"", quote(url)))
    }

    /// A process of that name runs.
    pub fn process(name: &str) -> Self {
        Self(format!("pgrep {} > /dev/null", quote(name)))
    }

    /// A file is there.
    pub fn file(path: &str) -> Self {
        Self(format!("[ -f {} ]", quote(path)))
    }

    /// Some time passed; whole seconds, at least one.
    pub fn after(time: Duration) -> Self {
        Self(format!("sleep {}", time.as_secs().max(1)))
    }

    pub(super) fn line(&self) -> &str {
        &self.0
    }
}

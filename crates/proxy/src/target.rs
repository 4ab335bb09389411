//! Where a request is bound: a port of a sandbox, or everything else.
//!
//! Two forms lead to a sandbox. A *host name* `PORT-ID.anything` does so by
//! itself, and then the routing headers are ignored: a web page that may set
//! headers must not turn its own sandbox's origin into another sandbox. On a
//! *shared* host (loopback names, addresses, `sandbox.*`, configured names) the
//! two routing headers do; without them such a host is the API's. One REST call
//! carries the headers all the same, see [`is_api_call`].

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName};
use model::SandboxId;
use wire::control::ENVD_PORT;

/// Routing header that names the sandbox.
pub const SANDBOX_ID_HEADER: HeaderName = HeaderName::from_static("e2b-sandbox-id");

/// Routing header that names the port.
pub const SANDBOX_PORT_HEADER: HeaderName = HeaderName::from_static("e2b-sandbox-port");

/// The destination of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A port inside a sandbox.
    Sandbox {
        /// Which sandbox.
        sandbox_id: SandboxId,
        /// Which port of it.
        port: u16,
    },
    /// The API, and whatever else this listener serves.
    Fallback,
}

/// A request that means a sandbox but does not name one. Answered 400, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// The `Host` header cannot be read, or there are two that differ.
    #[error("Invalid host")]
    Host,
    /// One of the two routing headers stands alone.
    #[error("missing header")]
    MissingHeader,
    /// The port is no number from 1 to 65535.
    #[error("Invalid sandbox port")]
    Port,
    /// The id has characters that no id has.
    #[error("Invalid sandbox ID")]
    Id,
}

/// The host names that share one origin among sandboxes and API.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    shared: Vec<String>,
}

impl Hosts {
    /// Adds names to the built-in ones (`localhost`, addresses, `sandbox.*`).
    pub fn new(shared: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self { shared: shared.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect() }
    }

    /// Whether routing headers count on this host (no port, lower case).
    fn is_shared(&self, host: &str) -> bool {
        is_loopback_name(host)
            || is_address(host)
            || host.starts_with("sandbox.")
            || self.shared.iter().any(|name| name == host)
    }
}

/// Decides from the host (as sent, with or without port), the path and the headers.
pub fn parse(
    host: Option<&str>,
    path: &str,
    headers: &HeaderMap,
    hosts: &Hosts,
) -> Result<Target, BadTarget> {
    let host = host.map(host_name).transpose()?.unwrap_or_default();
    if !host.is_empty() && !hosts.is_shared(&host) {
        return from_host_name(&host);
    }
    match from_headers(headers)? {
        Target::Sandbox { sandbox_id, port } if is_api_call(&sandbox_id, port, path, headers) => {
            Ok(Target::Fallback)
        }
        target => Ok(target),
    }
}

/// Whether this is `POST /sandboxes/{id}/connect` of an older Python client
/// (2.8 for one), which puts the routing headers on this REST call too. Where
/// API and traffic have an address each, nobody notices; here they share one.
/// The daemon inside has no such path, and the API asks for its key.
fn is_api_call(sandbox_id: &SandboxId, port: u16, path: &str, headers: &HeaderMap) -> bool {
    let named = path
        .strip_prefix("/v2")
        .unwrap_or(path)
        .strip_prefix("/sandboxes/")
        .and_then(|rest| rest.strip_suffix("/connect"));
    port == ENVD_PORT && headers.contains_key("x-api-key") && named == Some(sandbox_id.as_str())
}

/// Whether the host is this machine itself: a guard against names that a
/// stranger's DNS points here.
pub(crate) fn is_local(host: &str) -> bool {
    let Ok(host) = host_name(host) else { return false };
    is_loopback_name(&host)
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || bracketed(&host).is_some_and(|address| address.is_loopback())
}

fn is_loopback_name(host: &str) -> bool {
    host == "localhost"
}

fn is_address(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok() || bracketed(host).is_some()
}

fn bracketed(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Lower case, without port and without the root's trailing dot.
fn host_name(host: &str) -> Result<String, BadTarget> {
    let port_at = if host.starts_with('[') {
        host.find(']').ok_or(BadTarget::Host)? + 1
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, port) = host.split_at(port_at);
    match port.strip_prefix(':') {
        None if port.is_empty() => {}
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {}
        _ => return Err(BadTarget::Host),
    }
    Ok(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

fn from_headers(headers: &HeaderMap) -> Result<Target, BadTarget> {
    match (headers.get(SANDBOX_ID_HEADER), headers.get(SANDBOX_PORT_HEADER)) {
        (None, None) => Ok(Target::Fallback),
        (Some(id), Some(port)) => {
            let port = port.to_str().map_err(|_| BadTarget::Port)?;
            let id = id.to_str().map_err(|_| BadTarget::Id)?;
            sandbox(port, id)
        }
        _ => Err(BadTarget::MissingHeader),
    }
}

/// A name whose first label does not begin with `digits-` is nobody's sandbox.
fn from_host_name(host: &str) -> Result<Target, BadTarget> {
    let Some((label, _)) = host.split_once('.') else { return Ok(Target::Fallback) };
    match label.split_once('-') {
        Some((port, id)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => sandbox(port, id),
        _ => Ok(Target::Fallback),
    }
}

fn sandbox(port: &str, id: &str) -> Result<Target, BadTarget> {
    // `u16::from_str` takes a leading plus; a port does not.
    let port = port.parse().ok().filter(|p| *p != 0 && !port.starts_with('+')).ok_or(BadTarget::Port)?;
    let sandbox_id = id.parse().map_err(|_| BadTarget::Id)?;
    Ok(Target::Sandbox { sandbox_id, port })
}

#[cfg(test)]
mod tests;

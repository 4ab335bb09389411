//! Options of the sandboxes' network, with their defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::plan::Range;

/// How sandboxes reach the outside. Two servers on one host need different
/// `name`, `interface_prefix` and `range`.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Name of our table of packet filter rules.
    pub name: String,
    /// What the names of the host's ends begin with; the slot's number follows.
    pub interface_prefix: String,
    /// Sandboxes' addresses. Nothing outside this host sees them.
    pub range: Range,
    /// What sandboxes see as next hop and name server. The host never has this
    /// address, so it cannot collide with one that the host uses.
    pub gateway: Ipv4Addr,
    /// Private networks that sandboxes may reach all the same, for example that
    /// of a package mirror. Everything else private is always denied.
    pub allow: Vec<Range>,
    /// Open connections of one sandbox to the outside, at most.
    pub max_connections: u32,
    /// Where names are looked up; `None` takes what `resolv_conf` says, anew when it changes.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// The host's list of name servers.
    pub resolv_conf: PathBuf,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            name: "warren".to_owned(),
            interface_prefix: "wv".to_owned(),
            range: Range::new(Ipv4Addr::new(10, 213, 0, 0), 16).expect("a network by its digits"),
            gateway: Ipv4Addr::new(169, 254, 1, 1),
            allow: Vec::new(),
            max_connections: 4096,
            resolvers: None,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        }
    }
}

//! The host's way to the outside: how big packets may be, and that it forwards.

use sys::netlink::{self, Link};

use super::error::Error;

/// Packet size when the host has no default route to learn it from.
const DEFAULT_MTU: u32 = 1500;
/// Nothing that carries IPv4 goes below this; a nonsense value is not passed on.
const LEAST_MTU: u32 = 576;

/// The largest packet that leaves this host by every default route.
pub(super) fn mtu() -> Result<u32, Error> {
    let sizes = uplinks()?.into_iter().map(|link| link.mtu).filter(|mtu| *mtu >= LEAST_MTU);
    Ok(sizes.min().unwrap_or(DEFAULT_MTU).min(DEFAULT_MTU))
}

/// Lets the links of the default routes forward what comes back for sandboxes.
/// Only those: a host that forwarded nothing does not become a router among all
/// its networks. Returns the names of the links that were changed. Safe twice.
pub(super) fn ensure_forwarding() -> Result<Vec<String>, Error> {
    let mut changed = Vec::new();
    for link in uplinks()? {
        if !link.forwarding {
            netlink::set_forwarding(link.index)?;
            changed.push(link.name);
        }
    }
    Ok(changed)
}

fn uplinks() -> Result<Vec<Link>, Error> {
    let mut links: Vec<_> = netlink::default_routes()?.into_iter().map(|(_, link)| link).collect();
    links.sort_by_key(|link| link.index);
    links.dedup_by_key(|link| link.index);
    Ok(links)
}

//! The sandbox's side: what its first process finds configured.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::host::{find_link, no_ipv6};
use super::message::{Batch, CREATE, Needed, REPLACE};
use super::socket::{Error, Socket};
use super::{RouteHeader, UP, family, ifla, kind, permanent_neighbour, route, rta};

/// What a sandbox's network namespace is to contain; made by the host's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestNet {
    /// Name of the interface inside.
    pub interface: String,
    /// The sandbox's own address.
    pub address: Ipv4Addr,
    /// Next hop for everything, and the name server.
    pub gateway: Ipv4Addr,
    /// Hardware address behind the gateway.
    pub gateway_mac: [u8; 6],
}

const LOOPBACK_INDEX: u32 = 1;

/// Brings up loopback and the interface inside, with address, default route and
/// fixed neighbour; local routes acknowledge at once (`quickack`), because a
/// request in two small writes over loopback otherwise waits 40 ms for the
/// other side's delayed acknowledgement.
///
/// To be called inside the sandbox's network namespace with `CAP_NET_ADMIN`
/// there, in a single-threaded child: it forks nothing and starts no thread.
pub fn configure_guest(net: &GuestNet) -> Result<(), Error> {
    let eth0 = find_link(|b| {
        b.link_header(0, 0, 0).text(ifla::NAME, &net.interface);
    })?;
    let missing = || std::io::Error::from_raw_os_error(libc::ENODEV);
    let eth0 =
        eth0.ok_or_else(|| Error { step: "finding the sandbox's interface", source: missing() })?.index;
    let mut batch = Batch::default();
    loopback(&mut batch);
    interface(&mut batch, eth0, net);
    Socket::open()?.run(&batch, |_| ())
}

fn loopback(batch: &mut Batch) {
    batch.push("bringing loopback up", Needed::Yes, kind::NEW_LINK, 0, |b| {
        b.link_header(LOOPBACK_INDEX, UP, UP);
    });
    for prefix_len in [8, 32] {
        let dst = if prefix_len == 8 { Ipv4Addr::new(127, 0, 0, 0) } else { Ipv4Addr::LOCALHOST };
        quick_local(batch, LOOPBACK_INDEX, (dst, prefix_len), Ipv4Addr::LOCALHOST);
    }
    // IPv6 cannot replace the kernel's own route, which has a metric that
    // requests cannot name: out with it and in with ours.
    let v6 = local_header(family::INET6, 128);
    batch.push("removing the plain IPv6 loopback route", Needed::IfPossible, kind::DEL_ROUTE, 0, |b| {
        b.raw(&v6.bytes()).ipv6(rta::DST, Ipv6Addr::LOCALHOST).u32(rta::OIF, LOOPBACK_INDEX);
    });
    batch.push("adding the quick IPv6 loopback route", Needed::IfPossible, kind::NEW_ROUTE, CREATE, |b| {
        b.raw(&v6.bytes()).ipv6(rta::DST, Ipv6Addr::LOCALHOST).u32(rta::OIF, LOOPBACK_INDEX);
        b.nest(rta::METRICS, |b| {
            b.u32(rta::METRIC_QUICKACK, 1);
        });
    });
}

fn interface(batch: &mut Batch, eth0: u32, net: &GuestNet) {
    batch.push("switching IPv6 off on the sandbox's interface", Needed::IfPossible, kind::NEW_LINK, 0, |b| {
        no_ipv6(b.link_header(eth0, 0, 0));
    });
    batch.push("bringing the sandbox's interface up", Needed::Yes, kind::NEW_LINK, 0, |b| {
        b.link_header(eth0, UP, UP);
    });
    batch.push("adding the sandbox's address", Needed::Yes, kind::NEW_ADDR, CREATE | REPLACE, |b| {
        const LOCAL: u16 = 2;
        b.raw(&[family::INET, 32, 0, route::SCOPE_GLOBAL]).raw(&eth0.to_ne_bytes()).ipv4(LOCAL, net.address);
    });
    quick_local(batch, eth0, (net.address, 32), net.address);
    batch.push("adding the default route", Needed::Yes, kind::NEW_ROUTE, CREATE | REPLACE, |b| {
        let header = RouteHeader {
            family: family::INET,
            prefix_len: 0,
            table: route::TABLE_MAIN,
            protocol: route::PROTO_STATIC,
            scope: route::SCOPE_GLOBAL,
            kind: route::UNICAST,
            // The gateway lies in no subnet of ours; it is on this link all the same.
            flags: route::ONLINK,
        };
        b.raw(&header.bytes()).ipv4(rta::GATEWAY, net.gateway).u32(rta::OIF, eth0);
    });
    batch.push(
        "fixing the gateway's hardware address",
        Needed::Yes,
        kind::NEW_NEIGHBOUR,
        CREATE | REPLACE,
        |b| {
            permanent_neighbour(b, eth0, net.gateway, net.gateway_mac);
        },
    );
}

/// Replaces the kernel's own local route with one that acknowledges at once.
fn quick_local(batch: &mut Batch, index: u32, (dst, prefix_len): (Ipv4Addr, u8), source: Ipv4Addr) {
    let header = local_header(family::INET, prefix_len);
    batch.push("making local routes quick", Needed::Yes, kind::NEW_ROUTE, CREATE | REPLACE, |b| {
        b.raw(&header.bytes()).ipv4(rta::DST, dst).ipv4(rta::PREFSRC, source).u32(rta::OIF, index).nest(
            rta::METRICS,
            |b| {
                b.u32(rta::METRIC_QUICKACK, 1);
            },
        );
    });
}

fn local_header(family: u8, prefix_len: u8) -> RouteHeader {
    RouteHeader {
        family,
        prefix_len,
        table: route::TABLE_LOCAL,
        protocol: route::PROTO_KERNEL,
        scope: route::SCOPE_HOST,
        kind: route::LOCAL,
        flags: 0,
    }
}

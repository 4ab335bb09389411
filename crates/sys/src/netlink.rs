//! The few things we ask of the kernel's route netlink: a veth pair whose far
//! end is born inside a sandbox's namespace, and the addresses and routes there.
//!
//! Synchronous, without a process or an async stack: an attach is one send of
//! four messages. Every function works on the network namespace of the calling
//! thread; [`configure_guest`] is made for a child that already stands inside.

mod guest;
mod host;
mod message;
mod socket;
mod stray;

pub use guest::{GuestNet, configure_guest};
pub use host::{
    Attachment, Link, Route, add_service_address, attach, default_routes, delete_link, link, links,
    remove_service_address, routes, set_forwarding, set_link_down, set_link_up,
};
pub use socket::Error;
pub use stray::cut_strays;

/// `IFF_UP`.
const UP: u32 = 1;

/// Message kinds of the route family (`linux/rtnetlink.h`).
mod kind {
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const DEL_LINK: u16 = 17;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const NEW_ADDR: u16 = 20;
    pub(super) const DEL_ADDR: u16 = 21;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const DEL_ROUTE: u16 = 25;
    pub(super) const GET_ROUTE: u16 = 26;
    pub(super) const NEW_NEIGHBOUR: u16 = 28;
}

/// Attributes of links (`linux/if_link.h`, `linux/veth.h`).
mod ifla {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK_INFO: u16 = 18;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const VETH_PEER: u16 = 1;
    pub(super) const AF_SPEC: u16 = 26;
    pub(super) const NETNS_FD: u16 = 28;
    pub(super) const INET_CONF: u16 = 1;
    pub(super) const INET_CONF_FORWARDING: u16 = 1;
    pub(super) const INET6_ADDR_GEN_MODE: u16 = 8;
    pub(super) const ADDR_GEN_MODE_NONE: u8 = 1;
}

/// Attributes of routes (`linux/rtnetlink.h`).
mod rta {
    pub(super) const DST: u16 = 1;
    pub(super) const OIF: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const PREFSRC: u16 = 7;
    pub(super) const METRICS: u16 = 8;
    pub(super) const METRIC_QUICKACK: u16 = 15;
}

/// Address families, as netlink headers spell them.
mod family {
    pub(super) const INET: u8 = 2;
    pub(super) const INET6: u8 = 10;
}

/// The fixed part of a route message.
#[derive(Debug, Clone, Copy)]
struct RouteHeader {
    family: u8,
    prefix_len: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

/// Values of [`RouteHeader`]'s fields.
mod route {
    pub(super) const TABLE_MAIN: u8 = 254;
    pub(super) const TABLE_LOCAL: u8 = 255;
    pub(super) const PROTO_KERNEL: u8 = 2;
    pub(super) const PROTO_STATIC: u8 = 4;
    pub(super) const SCOPE_GLOBAL: u8 = 0;
    pub(super) const SCOPE_LINK: u8 = 253;
    pub(super) const SCOPE_HOST: u8 = 254;
    pub(super) const UNICAST: u8 = 1;
    pub(super) const LOCAL: u8 = 2;
    pub(super) const ONLINK: u32 = 4;
}

impl RouteHeader {
    fn bytes(self) -> [u8; 12] {
        let f = self.flags.to_ne_bytes();
        [
            self.family,
            self.prefix_len,
            0,
            0,
            self.table,
            self.protocol,
            self.scope,
            self.kind,
            f[0],
            f[1],
            f[2],
            f[3],
        ]
    }
}

/// `ndmsg` of a neighbour that never expires, then its two attributes.
fn permanent_neighbour(body: &mut message::Body<'_>, index: u32, address: std::net::Ipv4Addr, mac: [u8; 6]) {
    const DST: u16 = 1;
    const LLADDR: u16 = 2;
    const PERMANENT: [u8; 2] = 0x80_u16.to_ne_bytes();
    body.raw(&[family::INET, 0, 0, 0])
        .raw(&index.to_ne_bytes())
        .raw(&[PERMANENT[0], PERMANENT[1], 0, route::UNICAST])
        .ipv4(DST, address)
        .attr(LLADDR, &mac);
}

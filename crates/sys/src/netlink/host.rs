//! The host's side: attach and detach a sandbox, look at links and routes.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::message::{Batch, Body, CREATE, DUMP, EXCL, Needed, REPLACE, attributes, u32_at};
use super::socket::{Error, Socket};
use super::{RouteHeader, UP, family, ifla, kind, permanent_neighbour, route, rta};

/// One veth pair to make: names, numbers and addresses of both its ends.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    /// Name of the host's end.
    pub host_name: &'a str,
    /// Index of the host's end. Chosen by us, so that the pair and what builds on it go in one send.
    pub host_index: u32,
    /// Hardware address of the host's end.
    pub host_mac: [u8; 6],
    /// Name of the end inside.
    pub guest_name: &'a str,
    /// Hardware address of the end inside.
    pub guest_mac: [u8; 6],
    /// The address that leads inside.
    pub address: Ipv4Addr,
    /// Largest packet.
    pub mtu: u32,
    /// Where the far end is born.
    pub netns: BorrowedFd<'a>,
}

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether IPv4 packets that arrive on it may be forwarded.
    pub forwarding: bool,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its largest packet.
    pub mtu: u32,
}

/// An IPv4 route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: Ipv4Addr,
    /// How many leading bits of the destination count; 0 is the default route.
    pub prefix_len: u8,
    /// The link it leaves by.
    pub index: u32,
    /// The next hop, when there is one.
    pub gateway: Option<Ipv4Addr>,
}

/// Makes the pair with the far end inside `netns`, forwarding on and IPv6 off on
/// the host's end, brings that end up, and routes the sandbox's address to it.
/// The neighbour entry is fixed: no address resolution happens, so no host
/// setting about it can break the path.
///
/// A failure may leave the pair; [`delete_link`] removes it.
pub fn attach(pair: &Attachment<'_>) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.push("creating the veth pair", Needed::Yes, kind::NEW_LINK, CREATE | EXCL, |b| veth(b, pair));
    // Before it is up: an interface that comes up with IPv6 makes itself an address.
    batch.push("setting up the host's end of the veth pair", Needed::Yes, kind::NEW_LINK, 0, |b| {
        forwarding(b.link_header(pair.host_index, 0, 0));
    });
    // A host with IPv6 switched off at boot refuses this; then there is nothing to switch off.
    batch.push("switching IPv6 off on the veth pair", Needed::IfPossible, kind::NEW_LINK, 0, |b| {
        no_ipv6(b.link_header(pair.host_index, 0, 0));
    });
    batch.push("bringing the veth pair up", Needed::Yes, kind::NEW_LINK, 0, |b| {
        b.link_header(pair.host_index, UP, UP);
    });
    batch.push("routing to the sandbox", Needed::Yes, kind::NEW_ROUTE, CREATE | REPLACE, |b| {
        let header = RouteHeader {
            family: family::INET,
            prefix_len: 32,
            table: route::TABLE_MAIN,
            protocol: route::PROTO_STATIC,
            scope: route::SCOPE_LINK,
            kind: route::UNICAST,
            flags: 0,
        };
        b.raw(&header.bytes()).ipv4(rta::DST, pair.address).u32(rta::OIF, pair.host_index);
    });
    batch.push(
        "fixing the sandbox's hardware address",
        Needed::Yes,
        kind::NEW_NEIGHBOUR,
        CREATE | REPLACE,
        |b| {
            permanent_neighbour(b, pair.host_index, pair.address, pair.guest_mac);
        },
    );
    Socket::open()?.run(&batch, |_| ())
}

fn veth(body: &mut Body<'_>, pair: &Attachment<'_>) {
    body.link_header(pair.host_index, 0, 0)
        .text(ifla::NAME, pair.host_name)
        .attr(ifla::ADDRESS, &pair.host_mac)
        .u32(ifla::MTU, pair.mtu)
        .nest(ifla::LINK_INFO, |b| {
            b.text(ifla::INFO_KIND, "veth").nest(ifla::INFO_DATA, |b| {
                b.nest(ifla::VETH_PEER, |b| {
                    b.link_header(0, 0, 0)
                        .text(ifla::NAME, pair.guest_name)
                        .attr(ifla::ADDRESS, &pair.guest_mac)
                        .u32(ifla::MTU, pair.mtu)
                        .u32(ifla::NETNS_FD, pair.netns.as_raw_fd().cast_unsigned());
                });
            });
        });
}

/// Appends "make yourself no IPv6 address" to a link message.
pub(super) fn no_ipv6(body: &mut Body<'_>) {
    body.nest(ifla::AF_SPEC, |b| {
        b.nest(family::INET6.into(), |b| {
            b.attr(ifla::INET6_ADDR_GEN_MODE, &[ifla::ADDR_GEN_MODE_NONE]);
        });
    });
}

/// Looks a link up by name.
pub fn link(name: &str) -> Result<Option<Link>, Error> {
    find_link(|b| {
        b.link_header(0, 0, 0).text(ifla::NAME, name);
    })
}

/// Asks for one link; `fill` says which.
pub(super) fn find_link(fill: impl FnOnce(&mut Body<'_>)) -> Result<Option<Link>, Error> {
    let mut batch = Batch::default();
    batch.push("looking for a network interface", Needed::Yes, kind::GET_LINK, 0, fill);
    let mut found = None;
    let outcome = Socket::open()?.run(&batch, |answer| {
        if answer.kind == kind::NEW_LINK {
            found = parse_link(answer.body);
        }
    });
    match outcome {
        Err(e) if e.is_not_found() => Ok(None),
        other => other.map(|()| found),
    }
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        forwarding: false,
        up: u32_at(body, 8)? & UP != 0,
        mtu: 0,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            ifla::NAME => link.name = text(value),
            ifla::MTU => link.mtu = u32_at(value, 0)?,
            ifla::AF_SPEC => link.forwarding = parse_forwarding(value).unwrap_or(false),
            _ => {}
        }
    }
    Some(link)
}

/// A text that the kernel ends with a zero byte.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// The kernel tells settings as an array of numbers, counted from one.
fn parse_forwarding(families: &[u8]) -> Option<bool> {
    let inet = nested(families, family::INET.into())?;
    let settings = nested(inet, ifla::INET_CONF)?;
    Some(u32_at(settings, usize::from(ifla::INET_CONF_FORWARDING - 1) * 4)? != 0)
}

fn nested(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// All links whose name starts with `prefix`.
pub fn links(prefix: &str) -> Result<Vec<Link>, Error> {
    let mut batch = Batch::default();
    batch.push("listing network interfaces", Needed::Yes, kind::GET_LINK, DUMP, |b| {
        b.link_header(0, 0, 0);
    });
    let mut found = Vec::new();
    Socket::open()?.run(&batch, |answer| {
        if answer.kind == kind::NEW_LINK {
            found.extend(parse_link(answer.body).filter(|link| link.name.starts_with(prefix)));
        }
    })?;
    Ok(found)
}

/// Lets IPv4 packets that arrive on a link be forwarded.
pub fn set_forwarding(index: u32) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.push("switching forwarding on", Needed::Yes, kind::NEW_LINK, 0, |b| {
        forwarding(b.link_header(index, 0, 0));
    });
    Socket::open()?.run(&batch, |_| ())
}

fn forwarding(body: &mut Body<'_>) {
    body.nest(ifla::AF_SPEC, |b| {
        b.nest(family::INET.into(), |b| {
            b.nest(ifla::INET_CONF, |b| {
                b.u32(ifla::INET_CONF_FORWARDING, 1);
            });
        });
    });
}

/// The IPv4 default routes of the main table, with the link each one leaves by.
pub fn default_routes() -> Result<Vec<(Route, Link)>, Error> {
    let with_links = routes()?.into_iter().filter(|route| route.prefix_len == 0).map(|route| {
        let link = find_link(|b| {
            b.link_header(route.index, 0, 0);
        })?;
        Ok(link.map(|link| (route, link)))
    });
    with_links.filter_map(Result::transpose).collect()
}

/// The IPv4 unicast routes of the main table that leave by one link.
pub fn routes() -> Result<Vec<Route>, Error> {
    let mut batch = Batch::default();
    batch.push("reading the routes", Needed::Yes, kind::GET_ROUTE, DUMP, |b| {
        b.raw(&[family::INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    });
    let mut routes = Vec::new();
    Socket::open()?.run(&batch, |answer| {
        if answer.kind == kind::NEW_ROUTE {
            routes.extend(parse_route(answer.body));
        }
    })?;
    Ok(routes)
}

fn parse_route(body: &[u8]) -> Option<Route> {
    let header = body.get(..12)?;
    let (prefix_len, table, route_kind) = (header[1], header[4], header[7]);
    if table != route::TABLE_MAIN || route_kind != route::UNICAST {
        return None;
    }
    let mut found = Route { destination: Ipv4Addr::UNSPECIFIED, prefix_len, index: 0, gateway: None };
    let address = |value: &[u8]| <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
    for (kind, value) in attributes(&body[12..]) {
        match kind {
            rta::DST => found.destination = address(value)?,
            rta::OIF => found.index = u32_at(value, 0)?,
            rta::GATEWAY => found.gateway = address(value),
            _ => {}
        }
    }
    (found.index != 0).then_some(found)
}

/// Gives the loopback interface an address of ours; safe twice.
pub fn add_service_address(address: Ipv4Addr) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.push("adding the gateway's address", Needed::Yes, kind::NEW_ADDR, CREATE | REPLACE, |b| {
        service_address(b, address);
    });
    Socket::open()?.run(&batch, |_| ())
}

/// Takes that address away; safe twice.
pub fn remove_service_address(address: Ipv4Addr) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.push("removing the gateway's address", Needed::Yes, kind::DEL_ADDR, 0, |b| {
        service_address(b, address);
    });
    match Socket::open()?.run(&batch, |_| ()) {
        Err(e) if e.source.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
        other => other,
    }
}

fn service_address(body: &mut Body<'_>, address: Ipv4Addr) {
    const LOOPBACK_INDEX: u32 = 1;
    const LOCAL: u16 = 2;
    body.raw(&[family::INET, 32, 0, route::SCOPE_HOST])
        .raw(&LOOPBACK_INDEX.to_ne_bytes())
        .ipv4(LOCAL, address);
}

/// Brings a link up; safe when it is up.
pub fn set_link_up(index: u32) -> Result<(), Error> {
    set_flags(index, UP, "bringing a network interface up")
}

/// Takes a link down without deleting it; cheap, and makes a later delete cheap.
pub fn set_link_down(index: u32) -> Result<(), Error> {
    set_flags(index, 0, "taking a network interface down")
}

fn set_flags(index: u32, flags: u32, step: &'static str) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.push(step, Needed::Yes, kind::NEW_LINK, 0, |b| {
        b.link_header(index, flags, UP);
    });
    Socket::open()?.run(&batch, |_| ())
}

/// Deletes a link, and with a veth its peer; safe when it is gone.
///
/// Holds the kernel's network lock for some 20 ms when the link is up: let the
/// death of the sandbox's namespace do it wherever that is possible.
pub fn delete_link(index: u32) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.push("deleting a network interface", Needed::Yes, kind::DEL_LINK, 0, |b| {
        b.link_header(index, 0, 0);
    });
    match Socket::open()?.run(&batch, |_| ()) {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}

//! Where a webhook may lead: not into the network that this server stands in,
//! unless its operator wants that.
//!
//! Names are looked up by the connection itself, and what the look-up finds is
//! what is judged: a name that changes its address between a check and the
//! connect gains nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;

/// Looks names up and keeps those addresses that may be posted to.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    pub(super) private_too: bool,
}

type Found = std::vec::IntoIter<SocketAddr>;

impl tower::Service<Name> for Guarded {
    type Response = Found;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Found>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let private_too = self.private_too;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| private_too || is_public(address.ip())).collect();
            if allowed.is_empty() { Err(io::Error::other(REFUSED)) } else { Ok(allowed.into_iter()) }
        })
    }
}

/// What is said of a target in here.
pub(super) const REFUSED: &str =
    "it leads to a private address; api.private_webhooks of this server allows that";

/// The address that a URL names outright, for which nothing is looked up.
pub(super) fn literal(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether an address is one of the open internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = (a, b, c) == (192, 0, 0);
    let benchmark = a == 198 && (18..20).contains(&b);
    !(a == 0
        || a >= 240
        || shared
        || protocol
        || benchmark
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    // Addresses that carry another kind: mapped and compatible ones, the
    // translators' prefix, 6to4.
    let inner = |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match parts {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => inner(high, low),
        // What is given out to anybody lies in 2000::/3.
        [first, second, ..] => first & 0xe000 == 0x2000 && !(first == 0x2001 && second == 0xdb8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_open_internet() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_leads_to() {
        use std::str::FromStr as _;
        use tower::Service as _;
        let name = || Name::from_str("localhost").unwrap();
        let refused = Guarded { private_too: false }.call(name()).await.unwrap_err();
        assert_eq!(refused.to_string(), REFUSED);
        assert!(Guarded { private_too: true }.call(name()).await.unwrap().count() > 0);
        assert_eq!(literal(&"http://[::1]:80/x".parse().unwrap()), Some("::1".parse().unwrap()));
        assert_eq!(literal(&"http://example.com/".parse().unwrap()), None);
    }
}

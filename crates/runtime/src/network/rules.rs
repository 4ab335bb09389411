//! The one policy point: the packet filter rules, as text for `nft`.
//!
//! A pure function of the options. The whole table is replaced in one
//! transaction, so there is no moment without rules. Connections that are not
//! allowed are refused, not swallowed: a program inside gets its error at once.

use super::config::NetworkConfig;
use super::plan::{Plan, Range};

/// Where the name service listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct DnsPorts {
    pub(super) udp: u16,
    pub(super) tcp: u16,
}

/// Never reachable from a sandbox: this host, private and link-local networks
/// (cloud metadata is there), carrier-grade NAT, benchmarking, multicast, the rest.
pub(super) const DENIED: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// The table with our name, whatever is in it now, replaced by the rules of these options.
pub(super) fn table(config: &NetworkConfig, plan: Plan, ports: DnsPorts) -> String {
    let NetworkConfig { name, gateway, max_connections, .. } = config;
    let (inside, service, range) = (inside(config), plan.service(), plan.range());
    let denied = DENIED.join(", ");
    let allowed = allowed(&config.allow);
    let DnsPorts { udp, tcp } = ports;
    format!(
        r"table inet {name}
delete table inet {name}
table inet {name} {{
    set denied {{
        type ipv4_addr; flags interval
        elements = {{ {denied} }}
    }}
    set allowed {{
        type ipv4_addr; flags interval
        {allowed}
    }}
    set flows {{
        type ipv4_addr; flags dynamic; size 65536
    }}
    # A sandbox speaks IPv4, with the address that is routed to its interface.
    chain origin {{
        type filter hook prerouting priority raw; policy accept;
        iifname != {inside} accept
        meta nfproto != ipv4 drop
        fib saddr . iif oif missing drop
    }}
    chain names {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname {inside} ip daddr {gateway} udp dport 53 dnat ip to {service}:{udp}
        iifname {inside} ip daddr {gateway} tcp dport 53 dnat ip to {service}:{tcp}
    }}
    # Of this host a sandbox reaches the name service and nothing else, and only sandboxes reach that.
    chain to_host {{
        type filter hook input priority filter - 10; policy accept;
        iifname {inside} ct status dnat ip daddr {service} udp dport {udp} accept
        iifname {inside} ct status dnat ip daddr {service} tcp dport {tcp} accept
        iifname {inside} reject with icmpx admin-prohibited
        meta l4proto {{ tcp, udp }} ip daddr {service} reject with icmpx admin-prohibited
    }}
    chain across {{
        type filter hook forward priority filter - 10; policy accept;
        iifname {inside} goto to_outside
        oifname {inside} ct state established,related accept
        oifname {inside} drop
    }}
    chain to_outside {{
        oifname {inside} reject with icmpx admin-prohibited
        ct state invalid drop
        ct state new add @flows {{ ip saddr ct count over {max_connections} }} reject with icmpx admin-prohibited
        ip daddr @allowed accept
        ip daddr @denied reject with icmpx admin-prohibited
        accept
    }}
    chain leave {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {range} oifname != {inside} masquerade
    }}
}}
"
    )
}

/// How rules spell "any host's end of a sandbox".
pub(super) fn inside(config: &NetworkConfig) -> String {
    format!("\"{}*\"", config.interface_prefix)
}

fn allowed(ranges: &[Range]) -> String {
    if ranges.is_empty() {
        return String::new();
    }
    let list: Vec<_> = ranges.iter().map(ToString::to_string).collect();
    format!("auto-merge\n        elements = {{ {} }}", list.join(", "))
}

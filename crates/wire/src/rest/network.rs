//! What a client asks of a sandbox's network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `network` of a create, echoed by the detail.
///
/// Fields that no version of this server knows are kept in [`other`](Self::other):
/// each might restrict, and a restriction is never dropped in silence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkConfig {
    /// Whether ports answer without a traffic token; absent means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_public_traffic: Option<bool>,
    /// Addresses, ranges and domains that may be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_out: Option<Vec<String>>,
    /// Addresses and ranges that may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny_out: Option<Vec<String>>,
    /// Resolvers for allowed domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_servers: Option<Vec<String>>,
    /// A proxy for everything that goes out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_proxy: Option<Value>,
    /// The `Host` that programs inside see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_request_host: Option<String>,
    /// Ports that speak TLS inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_ports: Option<Vec<u16>>,
    /// Headers to be added, by domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<BTreeMap<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl NetworkConfig {
    /// Wire names of the fields that ask for anything but the defaults.
    pub fn demands(&self) -> Vec<String> {
        let named = [
            ("allowPublicTraffic", self.allow_public_traffic == Some(false)),
            ("allowOut", self.allow_out.as_ref().is_some_and(|list| !list.is_empty())),
            ("denyOut", self.deny_out.as_ref().is_some_and(|list| !list.is_empty())),
            // An empty list means "no resolver", which restricts too.
            ("dnsServers", self.dns_servers.is_some()),
            ("egressProxy", self.egress_proxy.as_ref().is_some_and(|proxy| !proxy.is_null())),
            ("maskRequestHost", self.mask_request_host.as_ref().is_some_and(|host| !host.is_empty())),
            ("httpsPorts", self.https_ports.as_ref().is_some_and(|ports| !ports.is_empty())),
            ("rules", self.rules.as_ref().is_some_and(|rules| !rules.is_empty())),
        ];
        let named = named.into_iter().filter(|(_, demanded)| *demanded).map(|(name, _)| name.to_owned());
        named
            .chain(self.other.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_every_demand_and_no_default() {
        let demands = |json: &str| serde_json::from_str::<NetworkConfig>(json).unwrap().demands();
        for default in [
            "{}",
            r#"{"allowPublicTraffic":true}"#,
            r#"{"allowOut":[],"denyOut":[],"egressProxy":null,"rules":{},"httpsPorts":[],"maskRequestHost":null}"#,
        ] {
            assert!(demands(default).is_empty(), "{default}");
        }
        assert_eq!(demands(r#"{"denyOut":["0.0.0.0/0"],"newField":1}"#), ["denyOut", "newField"]);
        assert_eq!(demands(r#"{"dnsServers":[]}"#), ["dnsServers"]);
    }
}

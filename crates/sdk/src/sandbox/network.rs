//! What a sandbox may reach and who may reach it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wire::rest::NetworkConfig;

use super::Sandbox;
use crate::Error;

/// Every address: for [`Network::deny_out`], so that only what is allowed is left.
pub const ALL_TRAFFIC: &str = "0.0.0.0/0";

/// Rules of a sandbox's network, for [`crate::CreateOptions::network`] and
/// [`Sandbox::update_network`].
///
/// ```
/// use warren_sdk::{ALL_TRAFFIC, Network};
/// let only_one = Network::new().allow_out("1.1.1.1").deny_out(ALL_TRAFFIC);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Network {
    config: NetworkConfig,
    allow_internet_access: Option<bool>,
}

impl Network {
    /// No rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// May be reached: an address, a range or a domain; allowing beats denying.
    #[must_use]
    pub fn allow_out(mut self, to: impl Into<String>) -> Self {
        self.config.allow_out.get_or_insert_default().push(to.into());
        self
    }

    /// May not be reached: an address or a range.
    #[must_use]
    pub fn deny_out(mut self, to: impl Into<String>) -> Self {
        self.config.deny_out.get_or_insert_default().push(to.into());
        self
    }

    /// Resolvers for allowed domains.
    #[must_use]
    pub fn dns_servers<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.config.dns_servers = Some(servers.into_iter().map(Into::into).collect());
        self
    }

    /// `false` cuts it off the outside; only read by [`Sandbox::update_network`]
    /// (at creation it is [`crate::CreateOptions::allow_internet_access`]).
    #[must_use]
    pub fn allow_internet_access(mut self, allow: bool) -> Self {
        self.allow_internet_access = Some(allow);
        self
    }

    /// `false` demands the traffic token on every port but the daemon's. At creation only.
    #[must_use]
    pub fn allow_public_traffic(mut self, allow: bool) -> Self {
        self.config.allow_public_traffic = Some(allow);
        self
    }

    /// The `Host` that programs inside see; `${PORT}` stands for the port. At creation only.
    #[must_use]
    pub fn mask_request_host(mut self, host: impl Into<String>) -> Self {
        self.config.mask_request_host = Some(host.into());
        self
    }

    /// Ports that speak TLS inside. At creation only.
    #[must_use]
    pub fn https_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.config.https_ports = Some(ports.into_iter().collect());
        self
    }

    /// Adds a header to requests that go to `domain`; the value may name a
    /// secret ([`crate::Secret::fill`]).
    #[must_use]
    pub fn inject_header(mut self, domain: impl Into<String>, name: &str, value: &str) -> Self {
        let rules = self.config.rules.get_or_insert_default().entry(domain.into());
        let rule = rules.or_insert_with(|| json!([{ "transform": { "headers": {} } }]));
        rule[0]["transform"]["headers"][name] = Value::from(value);
        self
    }

    /// Sends everything through a SOCKS5 proxy at `host:port`.
    #[must_use]
    pub fn egress_proxy(mut self, address: &str, login: Option<(&str, &str)>) -> Self {
        let mut proxy = json!({ "address": address });
        if let Some((username, password)) = login {
            proxy["username"] = username.into();
            proxy["password"] = password.into();
        }
        self.config.egress_proxy = Some(proxy);
        self
    }

    pub(crate) fn into_config(self) -> NetworkConfig {
        self.config
    }

    /// The fields that may change later, under the names of that call.
    fn into_update(self) -> Result<BTreeMap<String, Value>, Error> {
        let c = self.config;
        if c.allow_public_traffic.is_some() || c.mask_request_host.is_some() || c.https_ports.is_some() {
            return Err(Error::invalid(
                "allow_public_traffic, mask_request_host and https_ports are fixed at creation",
            ));
        }
        let fields = [
            ("allowOut", c.allow_out.map(Value::from)),
            ("denyOut", c.deny_out.map(Value::from)),
            ("dnsServers", c.dns_servers.map(Value::from)),
            ("egressProxy", c.egress_proxy),
            ("rules", c.rules.map(|rules| Value::Object(rules.into_iter().collect()))),
            ("allow_internet_access", self.allow_internet_access.map(Value::from)),
        ];
        Ok(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

impl Sandbox {
    /// Replaces the rules for what goes out: what is not named here is no longer
    /// restricted. Applies at once.
    pub async fn update_network(&self, network: Network) -> Result<(), Error> {
        let update = network.into_update()?;
        let path = format!("/sandboxes/{}/network", self.id());
        self.api.send_json(http::Method::PUT, &path, &update).await.map_err(super::missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_names_only_what_it_changes() {
        let network = Network::new()
            .allow_out("1.1.1.1")
            .deny_out(ALL_TRAFFIC)
            .inject_header("api.example", "x-a", "1")
            .inject_header("api.example", "x-b", "2");
        assert_eq!(
            serde_json::to_value(network.into_update().unwrap()).unwrap(),
            json!({
                "allowOut": ["1.1.1.1"],
                "denyOut": ["0.0.0.0/0"],
                "rules": { "api.example": [{ "transform": { "headers": { "x-a": "1", "x-b": "2" } } }] },
            })
        );
        assert!(Network::new().into_update().unwrap().is_empty());
        assert!(Network::new().allow_public_traffic(false).into_update().is_err());
    }
}

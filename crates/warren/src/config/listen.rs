//! Where the server listens, and with which certificate.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// API and sandbox traffic together.
    pub(crate) main: Vec<SocketAddr>,
    /// Whether ports 49983 and 49999 of this machine lead to a debug sandbox,
    /// for clients with nothing but `E2B_DEBUG=true`.
    pub(crate) debug_ports: bool,
    /// Where the session API is served besides the main listeners; loopback
    /// only, empty for nowhere. An address that is taken is left out.
    pub(crate) session: Vec<SocketAddr>,
    /// Where measurements are served, at /metrics, to whoever asks; loopback only,
    /// empty for nowhere. The main listeners serve them to the operator's token.
    pub(crate) metrics: Vec<SocketAddr>,
    /// Further host names on which routing headers are honoured.
    pub(crate) public_hosts: Vec<String>,
}

/// TLS on the listeners: with a certificate for `*.<api.domain>`, or one that an
/// authority of this server's own makes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// A PEM file with the certificate and its chain; read again when it changes.
    pub(crate) certificate: Option<PathBuf>,
    /// The PEM file of its private key.
    pub(crate) key: Option<PathBuf>,
    /// Make certificates with an authority of this server's own, kept in its state directory.
    pub(crate) own_authority: bool,
    /// Whether addresses that other machines can reach take plain HTTP too.
    pub(crate) plain_everywhere: bool,
}

impl Default for Listen {
    fn default() -> Self {
        let main = vec![
            SocketAddr::from(([127, 0, 0, 1], 3000)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 3000)),
        ];
        let session = vec![
            SocketAddr::from(([127, 0, 0, 1], 8000)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 8000)),
        ];
        Self { main, debug_ports: true, session, metrics: Vec::new(), public_hosts: Vec::new() }
    }
}

impl Listen {
    /// Whether a server could listen so; `require_keys` says whether calls need a key.
    pub(super) fn check(&self, require_keys: bool) -> Result<()> {
        if self.main.is_empty() {
            bail!("listen.main is empty: name at least one address and port");
        }
        if let Some(open) = self.main.iter().find(|address| !address.ip().is_loopback() && !require_keys) {
            bail!(
                "api.require_keys is off, but {open} can be reached from other machines: listen on loopback or \
                 require keys"
            );
        }
        for (key, addresses) in [("session", &self.session), ("metrics", &self.metrics)] {
            if let Some(open) = addresses.iter().find(|address| !address.ip().is_loopback()) {
                bail!(
                    "listen.{key} has {open}, which is not on loopback: the main listener serves other machines"
                );
            }
        }
        Ok(())
    }
}

impl Tls {
    /// Whether these settings go together, and with the domain.
    pub(super) fn check(&self, domain: Option<&str>) -> Result<()> {
        if self.certificate.is_some() != self.key.is_some() {
            bail!("tls.certificate and tls.key belong together: name both or none");
        }
        if self.own_authority && self.certificate.is_some() {
            bail!("tls.own_authority makes certificates and tls.certificate names one: choose");
        }
        if let Some(domain) = domain.filter(|domain| !is_domain(domain)) {
            bail!(
                "api.domain is {domain:?}: use lower-case letters, digits, hyphens and dots, and a port if need be"
            );
        }
        match domain {
            None if self.own_authority => bail!("tls.own_authority needs api.domain (or --domain NAME)"),
            // Clients refuse wildcards right below the root.
            Some(domain) if self.own_authority && !domain.contains('.') => {
                bail!(
                    "api.domain is {domain:?}: clients take *.NAME only for a name of two parts, such as warren.{domain}"
                )
            }
            _ => Ok(()),
        }
    }
}

/// A host name with or without a port.
fn is_domain(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        let ordinary = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(ordinary) && !label.starts_with('-')
    };
    name.len() <= 200 && name.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

//! TLS of the listeners, as the settings ask for it.

mod authority;
mod certificates;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use proxy::Tls;

use self::authority::Authority;
use self::certificates::Origin;
use super::state::StateDir;
use super::{ca, secret};
use crate::config::Options;

pub(crate) use self::certificates::Certificates;

/// TLS that is on, with what people have to know about it.
#[derive(Debug)]
pub(crate) struct Secured {
    /// What the listeners show.
    pub(crate) certificates: Arc<Certificates>,
    /// What the proxy needs.
    pub(crate) tls: Tls,
    /// What clients must trust, where that is our own authority.
    pub(crate) trust: Option<Trust>,
}

/// Files for clients of a server with an authority of its own.
#[derive(Debug)]
pub(crate) struct Trust {
    /// The authority's certificate alone: for programs that add it to their own list.
    pub(crate) authority: PathBuf,
    /// The host's authorities and ours: for programs that read one file and no other.
    pub(crate) bundle: PathBuf,
}

/// Sets TLS up; `None` where the settings do not ask for it.
pub(crate) fn open(options: &Options, state: &StateDir) -> Result<Option<Secured>> {
    let domain = options.api.domain.as_deref().map(without_port);
    let wanted = &options.tls;
    let mut trust = None;
    let origin = match (&wanted.certificate, &wanted.key, domain) {
        (Some(certificate), Some(key), _) => {
            Origin::Files { certificate: certificate.clone(), key: key.clone() }
        }
        (_, _, Some(domain)) if wanted.own_authority => {
            let dir = state.path().join("tls").join(domain);
            let authority = Authority::open(&dir, domain)?;
            let bundle = dir.join("bundle.pem");
            let own = fs::read_to_string(authority.file()).context("read the authority's certificate")?;
            secret::write(&bundle, ca::host_bundle(options.extra_ca_file.as_deref(), &own).as_bytes())?;
            trust = Some(Trust { authority: authority.file().to_owned(), bundle });
            Origin::Own(Box::new(authority))
        }
        _ => return Ok(None),
    };
    let certificates = Arc::new(Certificates::open(origin)?);
    if let Some(domain) = domain
        && !certificates.covers(&format!("49983-i0.{domain}"))
    {
        tracing::warn!(domain, "the certificate does not hold for *.{domain}: clients will refuse it");
    }
    let tls = Tls::new(Arc::clone(&certificates) as _, wanted.plain_everywhere).context("set up TLS")?;
    Ok(Some(Secured { certificates, tls, trust }))
}

/// What [`open`] would find, in words, without making an authority; `None` where
/// TLS is off.
pub(crate) fn look(options: &Options) -> Result<Option<String>> {
    let wanted = &options.tls;
    let (Some(certificate), Some(key)) = (&wanted.certificate, &wanted.key) else {
        let domain = options.api.domain.as_deref().filter(|_| wanted.own_authority);
        return Ok(domain.map(|domain| format!("of an authority of this server's own, for {domain}")));
    };
    let origin = Origin::Files { certificate: certificate.clone(), key: key.clone() };
    let certificates = Certificates::open(origin)?;
    match options.api.domain.as_deref().map(without_port) {
        Some(domain) if !certificates.covers(&format!("49983-i0.{domain}")) => {
            anyhow::bail!("{} does not hold for *.{domain}: clients will refuse it", certificate.display())
        }
        _ => Ok(Some(certificate.display().to_string())),
    }
}

/// The domain as clients have to write it: with the port, where it is not the
/// one that `https` means.
pub(crate) fn with_port(domain: &str, port: u16) -> String {
    if domain.contains(':') || port == 443 { domain.to_owned() } else { format!("{domain}:{port}") }
}

fn without_port(domain: &str) -> &str {
    domain.split_once(':').map_or(domain, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_domain_names_its_port_where_clients_would_guess_another() {
        assert_eq!(super::with_port("sbx.example", 443), "sbx.example");
        assert_eq!(super::with_port("sbx.example", 3000), "sbx.example:3000");
        assert_eq!(super::with_port("sbx.example:8443", 3000), "sbx.example:8443");
        assert_eq!(super::without_port("sbx.example:8443"), "sbx.example");
    }
}

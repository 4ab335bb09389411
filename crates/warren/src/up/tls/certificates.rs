//! The certificate that listeners show, kept fresh while the server runs: one
//! from files is read again when they change, one of our own authority is made
//! again every day.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::authority::Authority;

/// Renewals of public authorities put new files in place weeks before the old ones run out.
const LOOK_AT_FILES: Duration = Duration::from_mins(1);

const MAKE_AGAIN: Duration = Duration::from_hours(24);

/// Where certificates come from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// PEM files of the operator's.
    Files {
        /// The certificate and its chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Our own authority.
    Own(Box<Authority>),
}

/// The certificate in use.
#[derive(Debug)]
pub(crate) struct Certificates {
    origin: Origin,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads or makes the first one.
    pub(crate) fn open(origin: Origin) -> Result<Self> {
        let current = RwLock::new(Arc::new(origin.obtain()?));
        Ok(Self { origin, current })
    }

    /// Whether clients will take it for this name.
    pub(crate) fn covers(&self, name: &str) -> bool {
        let current = self.current();
        let (Some(first), Ok(name)) = (current.cert.first(), ServerName::try_from(name)) else {
            return false;
        };
        ParsedCertificate::try_from(first).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }

    /// Keeps it fresh until `stop`. A new one that cannot be used is said, and
    /// the old one stays.
    pub(crate) async fn renew_until(&self, stop: &CancellationToken) {
        let mut seen = self.origin.changed_at();
        let every = if matches!(self.origin, Origin::Own(_)) { MAKE_AGAIN } else { LOOK_AT_FILES };
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            seen = self.renew(seen);
        }
    }

    /// One look; what was seen.
    fn renew(&self, seen: Option<SystemTime>) -> Option<SystemTime> {
        let now = self.origin.changed_at();
        if matches!(self.origin, Origin::Files { .. }) && now == seen {
            return seen;
        }
        match self.origin.obtain() {
            Ok(fresh) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                tracing::info!("the server's certificate was renewed");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the server's certificate was not renewed; the old one stays in use");
            }
        }
        now
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl Origin {
    fn obtain(&self) -> Result<CertifiedKey> {
        match self {
            Self::Files { certificate, key } => read(certificate, key),
            Self::Own(authority) => authority.issue(),
        }
    }

    /// When the newer of the files was written.
    fn changed_at(&self) -> Option<SystemTime> {
        let Self::Files { certificate, key } = self else { return None };
        [certificate, key].iter().filter_map(|file| file.metadata().ok()?.modified().ok()).max()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey> {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.with_context(|| format!("read the certificate in {}", certificate.display()))?;
    let secret = PrivateKeyDer::from_pem_file(key);
    let secret = secret.with_context(|| format!("read the private key in {}", key.display()))?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider())
        .with_context(|| format!("use {} with {}", certificate.display(), key.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(dir.join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn files_are_taken_again_when_they_change_and_only_if_they_fit() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "*.one.test");
        let files = || Origin::Files { certificate: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        let certificates = Certificates::open(files()).unwrap();
        assert!(certificates.covers("49983-i0.one.test") && !certificates.covers("one.test"));
        let mut seen = files().changed_at();
        assert_eq!(certificates.renew(seen), seen);

        write(dir.path(), "*.two.test");
        seen = certificates.renew(None);
        assert!(certificates.covers("49983-i0.two.test"));

        let other = rcgen::KeyPair::generate().unwrap();
        std::fs::write(dir.path().join("k.pem"), other.serialize_pem()).unwrap();
        certificates.renew(None);
        assert!(certificates.covers("49983-i0.two.test"), "a key that does not fit changes nothing");
        assert!(Certificates::open(files()).is_err());
        assert!(seen.is_some());
    }
}

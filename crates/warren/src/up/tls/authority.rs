//! A certificate authority of this server's own, for one domain.
//!
//! Its key stays in the state directory, and it is constrained to its domain and
//! to loopback: who trusts it trusts this server for these names and nothing else.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::super::secret;

const DAY: Duration = Duration::from_hours(24);

/// How long people can go without trusting another one.
const AUTHORITY_LIFE: Duration = Duration::from_hours(3650 * 24);

/// Made anew at each start and every day, so nobody ever sees it run out.
const CERTIFICATE_LIFE: Duration = Duration::from_hours(90 * 24);

/// The authority of one domain.
#[derive(Debug)]
pub(crate) struct Authority {
    domain: String,
    key: KeyPair,
    file: PathBuf,
}

impl Authority {
    /// Reads the authority of this domain (no port) from the directory, or makes it.
    pub(crate) fn open(dir: &Path, domain: &str) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let (key_file, file) = (dir.join("authority-key.pem"), dir.join("authority.pem"));
        let key = match fs::read_to_string(&key_file) {
            Ok(pem) => KeyPair::from_pem(&pem).with_context(|| format!("read {}", key_file.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = KeyPair::generate().context("make the authority's key")?;
                secret::write(&key_file, key.serialize_pem().as_bytes())?;
                key
            }
            Err(error) => return Err(error).with_context(|| format!("read {}", key_file.display())),
        };
        let authority = Self { domain: domain.to_owned(), key, file };
        if !authority.file.exists() {
            let certificate = authority.params(now())?.self_signed(&authority.key);
            let pem = certificate.context("sign the authority's certificate")?.pem();
            secret::write(&authority.file, pem.as_bytes())?;
        }
        Ok(authority)
    }

    /// The certificate that clients have to trust.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// A new key with a certificate for the domain, all names below it, and loopback.
    pub(crate) fn issue(&self) -> Result<CertifiedKey> {
        self.issue_at(now()).context("make the server's certificate")
    }

    fn issue_at(&self, now: Duration) -> Result<CertifiedKey> {
        let names = [self.domain.as_str(), "localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut names = names.to_vec();
        names.push(format!("*.{}", self.domain));
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(&self.domain);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Clocks of clients may be a little behind.
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now + CERTIFICATE_LIFE);
        let key = KeyPair::generate()?;
        let own = self.params(now)?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&own, &self.key))?;
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Ok(CertifiedKey::from_der(chain, key, &Arc::new(ring::default_provider()))?)
    }

    /// Its name and its key identify it; its dates count when it is made.
    fn params(&self, now: Duration) -> Result<CertificateParams> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(&format!("Warren authority of {}", self.domain));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName(self.domain.clone()),
                GeneralSubtree::DnsName("localhost".to_owned()),
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                    std::net::Ipv6Addr::LOCALHOST.octets(),
                    128,
                )),
            ],
            excluded_subtrees: Vec::new(),
        });
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now + AUTHORITY_LIFE);
        Ok(params)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    /// Whether a client that trusts the file takes the certificate for this name.
    fn is_trusted(authority: &Authority, certificate: &CertifiedKey, name: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&certificate.cert[0], &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn clients_that_trust_it_take_every_name_of_its_domain() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path(), "sbx.example").unwrap();
        // Another start: what clients trusted still holds.
        let again = Authority::open(dir.path(), "sbx.example").unwrap();
        for issued in [first.issue().unwrap(), again.issue().unwrap()] {
            for name in ["api.sbx.example", "49983-iabc.sbx.example", "sbx.example", "localhost", "127.0.0.1"]
            {
                assert!(is_trusted(&first, &issued, name), "{name}");
            }
            assert!(!is_trusted(&first, &issued, "a.b.sbx.example"));
        }
        let mode = fs::metadata(dir.path().join("authority-key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn it_speaks_for_no_other_domain() {
        let dir = tempfile::tempdir().unwrap();
        let mut authority = Authority::open(dir.path(), "sbx.example").unwrap();
        authority.domain = "bank.example".to_owned();
        let stolen = authority.issue().unwrap();
        assert!(!is_trusted(&authority, &stolen, "www.bank.example"));
    }
}

//! The host's own certificate authorities, for sandboxes behind the same proxy.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// What Debian's package of public authorities consists of.
const PUBLIC: &str = "/usr/share/ca-certificates/mozilla";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates of this file that are not public authorities anyway: those
/// every sandbox has, and the rest travels with each start.
pub(crate) fn extra(file: Option<&Path>) -> Result<Option<String>> {
    let Some(file) = file else { return Ok(None) };
    let bundle = fs::read_to_string(file)
        .with_context(|| format!("read the certificate authorities in {}", file.display()))?;
    let public = public_authorities();
    let own: Vec<&str> = certificates(&bundle).filter(|pem| !public.contains(&body(pem))).collect();
    if own.is_empty() {
        return Ok(None);
    }
    tracing::info!(file = %file.display(), certificates = own.len(), "sandboxes trust this host's own authorities");
    Ok(Some(own.join("\n") + "\n"))
}

/// Where the host's tools find the authorities they trust, by distribution.
const HOST_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// What the host trusts (the file that its environment names, else its own
/// bundle) and one authority more.
pub(crate) fn host_bundle(named: Option<&Path>, own: &str) -> String {
    let known = HOST_BUNDLES.iter().map(Path::new);
    let host = named.into_iter().chain(known).find_map(|file| fs::read_to_string(file).ok());
    format!("{}\n{own}", host.unwrap_or_default())
}

/// None where the host lacks the package; then all of a bundle is passed on.
fn public_authorities() -> HashSet<String> {
    let Ok(dir) = fs::read_dir(PUBLIC) else { return HashSet::new() };
    let files = dir.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    files.flat_map(|text| certificates(&text).map(body).collect::<Vec<_>>()).collect()
}

fn certificates(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(END)
        .filter(|part| part.ends_with(END))
        .filter_map(|part| Some(&part[part.find(BEGIN)?..]))
}

/// The text between the marks without line breaks, which writers set differently.
fn body(pem: &str) -> String {
    pem.trim_start_matches(BEGIN).trim_end_matches(END).split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::{body, certificates, extra};

    #[test]
    fn a_bundle_is_read_with_its_comments() {
        let text = "# one\n-----BEGIN CERTIFICATE-----\nAA\nBB\n-----END CERTIFICATE-----\n# two\n\
                    -----BEGIN CERTIFICATE-----\nCC\n-----END CERTIFICATE-----\nrest";
        let found: Vec<String> = certificates(text).map(body).collect();
        assert_eq!(found, ["AABB", "CC"]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, text).unwrap();
        assert!(extra(Some(&file)).unwrap().unwrap().contains("CC"));
        assert!(extra(None).unwrap().is_none());
        assert!(extra(Some(&dir.path().join("absent"))).is_err());
    }
}

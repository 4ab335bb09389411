//! What the command line and the environment say of the settings.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use model::Isolation;

use super::Options;

/// What the command line says; `None` leaves the setting as it is.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Flags {
    /// Read settings from this TOML file (default: /etc/warren/config.toml, if it is there).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Keep everything durable here.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Listen here, instead of on port 3000 of loopback; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Serve HTTPS for this domain and all names below it, with an authority of
    /// this server's own unless a certificate is given.
    #[arg(long, value_name = "NAME[:PORT]")]
    pub(crate) domain: Option<String>,
    /// A PEM file with the certificate of the domain and its chain.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The PEM file of the certificate's private key.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The barrier around sandboxes: namespaces or sim.
    #[arg(long, value_name = "KIND")]
    pub(crate) isolation: Option<Isolation>,
    /// error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Accept calls without a key (on loopback only).
    #[arg(long)]
    pub(crate) no_keys: bool,
    /// Do not open the ports beside the main ones: 49983 and 49999 for debug
    /// mode, 8000 for the session API (which the main ones serve, too).
    #[arg(long)]
    pub(crate) no_debug_ports: bool,
}

pub(super) fn apply_environment(options: &mut Options, get: impl Fn(&str) -> Option<String>) -> Result<()> {
    if let Some(dir) = get("WARREN_STATE_DIR") {
        options.state_dir = PathBuf::from(dir);
    }
    if options.otlp_endpoint.is_none() {
        options.otlp_endpoint = get("OTEL_EXPORTER_OTLP_ENDPOINT");
    }
    if let Some(level) = get("WARREN_LOG") {
        options.log_level = level;
    }
    if let Some(kind) = get("WARREN_ISOLATION") {
        options.isolation = kind.parse().context("read WARREN_ISOLATION")?;
    }
    if let Some(addresses) = get("WARREN_LISTEN") {
        let parsed: Result<Vec<SocketAddr>, _> = addresses.split(',').map(|a| a.trim().parse()).collect();
        options.listen.main = parsed.context("read WARREN_LISTEN (address:port, separated by commas)")?;
    }
    // A host whose tools trust a bundle of their own sits behind a proxy that
    // signs with it: so do its sandboxes.
    if options.extra_ca_file.is_none() {
        options.extra_ca_file =
            get("WARREN_EXTRA_CA_FILE").or_else(|| get("SSL_CERT_FILE")).map(PathBuf::from);
    }
    Ok(())
}

pub(super) fn apply_flags(options: &mut Options, flags: &Flags) {
    if let Some(dir) = &flags.state_dir {
        options.state_dir.clone_from(dir);
    }
    if !flags.listen.is_empty() {
        options.listen.main.clone_from(&flags.listen);
    }
    if let Some(isolation) = flags.isolation {
        options.isolation = isolation;
    }
    if let Some(level) = &flags.log_level {
        options.log_level.clone_from(level);
    }
    if let (Some(certificate), Some(key)) = (&flags.tls_certificate, &flags.tls_key) {
        options.tls.certificate = Some(certificate.clone());
        options.tls.key = Some(key.clone());
        options.tls.own_authority = false;
    }
    if let Some(domain) = &flags.domain {
        options.api.domain = Some(domain.to_ascii_lowercase());
        options.tls.own_authority = options.tls.certificate.is_none();
    }
    options.api.require_keys &= !flags.no_keys;
    if flags.no_debug_ports {
        options.listen.debug_ports = false;
        options.listen.session.clear();
    }
}

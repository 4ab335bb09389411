//! Every setting of the server, its default, and where it comes from: defaults,
//! then the file, then the environment, then the command line. The only file of
//! the server that reads the environment.

mod templates;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use model::Isolation;
use serde::{Deserialize, Serialize};

pub(crate) use templates::{Build, Images};

/// The configuration file that is read if it exists and none is named.
const DEFAULT_FILE: &str = "/etc/warren/config.toml";

/// All settings of `warren up`. `--print-config` prints them as such a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// Where everything durable lives. Holds secrets; only its owner may read it.
    pub(crate) state_dir: PathBuf,
    /// Name of this server on its host: of its control groups and packet filter
    /// rules. A second server beside this one needs another name, and another
    /// `network.range`, `network.interface_prefix` and `node.first_uid`.
    pub(crate) instance: String,
    /// Which barrier stands around sandboxes: `namespaces`, or `sim` for trying the API without any.
    #[serde(with = "isolation")]
    pub(crate) isolation: Isolation,
    /// How much is logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub(crate) log_level: String,
    /// Where traces go: a collector that takes OTLP over HTTP, `http://host:4318`;
    /// unset: there are none.
    pub(crate) otlp_endpoint: Option<String>,
    /// A PEM file of certificate authorities that sandboxes and template builds
    /// trust beside their own; found by itself where the environment names one.
    pub(crate) extra_ca_file: Option<PathBuf>,
    /// Where the server listens.
    pub(crate) listen: Listen,
    /// TLS on the listeners; plain HTTP stays on loopback.
    pub(crate) tls: Tls,
    /// The REST API.
    pub(crate) api: Api,
    /// The session API, for web applications.
    pub(crate) session: Session,
    /// What this machine may give to sandboxes.
    pub(crate) node: Node,
    /// The network of sandboxes.
    pub(crate) network: Network,
    /// Images that templates start from.
    pub(crate) images: Images,
    /// How long builds of templates may take.
    pub(crate) build: Build,
}

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

/// The REST API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Whether calls need a key. Without keys the server must listen on loopback only.
    pub(crate) require_keys: bool,
    /// Base domain of sandboxes' host names; unset: `localhost:<port of the first listener>`.
    pub(crate) domain: Option<String>,
    /// Sandboxes that one team may have at a time.
    pub(crate) max_sandboxes: u64,
    /// The longest life of a sandbox, in hours from its start.
    pub(crate) max_lifetime_hours: u64,
    /// Whether a create answers only when the code interpreter's kernel is ready.
    /// Without, the first cell waits instead.
    pub(crate) wait_for_interpreter: bool,
    /// What becomes of a pause that asks for memory, which no sandbox can keep yet:
    /// `refuse` it, or let it keep the `files` alone, as the sandbox then says.
    pub(crate) full_pause: FullPause,
    /// Whether webhooks may lead to this machine and into private networks, which
    /// whoever has a key could then make this server post into.
    pub(crate) private_webhooks: bool,
    /// How often one team may ask: by method and route as the API document
    /// spells them, `"POST /v2/sandboxes" = { burst = 50, period_s = 10 }`. None by default.
    pub(crate) rate_limits: BTreeMap<String, RateLimit>,
}

/// What becomes of a pause that asks for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FullPause {
    /// It is refused.
    Refuse,
    /// It keeps the files alone.
    Files,
}

/// A bucket of `burst` requests that fills again within `period_s`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    /// Requests at once.
    burst: u32,
    /// Seconds in which as many become free again.
    period_s: f64,
}

impl Api {
    /// The limits as the control plane takes them.
    pub(crate) fn rate_limits(&self) -> BTreeMap<String, control::RateLimit> {
        let period = |limit: &RateLimit| Duration::try_from_secs_f64(limit.period_s).unwrap_or(Duration::MAX);
        let one = |limit: &RateLimit| control::RateLimit { burst: limit.burst, period: period(limit) };
        self.rate_limits.iter().map(|(route, limit)| (route.clone(), one(limit))).collect()
    }
}

/// The session API, for web applications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Session {
    /// The template of a session's sandbox.
    pub(crate) template: String,
    /// The template of one of type `custom`; unset: that type is refused.
    pub(crate) custom_template: Option<String>,
    /// The longest execution or installation, in seconds.
    pub(crate) execution_seconds: u64,
    /// The longest time without a call, in seconds; then the sandbox is closed.
    pub(crate) idle_seconds: u64,
    /// The longest life of a session's sandbox, in seconds from its start.
    pub(crate) life_seconds: u64,
    /// The largest uploaded file, in MiB.
    pub(crate) max_upload_mib: u64,
    /// What the URLs of artifacts begin with, such as `https://warren.example`;
    /// unset: the host that the request named.
    pub(crate) public_url: Option<String>,
}

/// What this machine may give to sandboxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Node {
    /// Sandboxes at a time, of all teams.
    pub(crate) max_sandboxes: u32,
    /// Memory promised to sandboxes, as a multiple of the machine's.
    pub(crate) memory_overcommit: f64,
    /// Disk promised to sandboxes, as a multiple of what is free at the start.
    pub(crate) disk_overcommit: f64,
    /// How long a process waits for a client that does not read its output, before
    /// that client is cut off.
    pub(crate) output_patience_seconds: u32,
    /// First user id outside; each slot takes the next 65,536.
    pub(crate) first_uid: u32,
    /// The checkpoint tool CRIU, a path that ends in `usr/sbin/criu`, which pauses
    /// with memory need. Unset, it is looked for in `criu` in and beside the state directory,
    /// beside this program and above it, then among the system's programs.
    pub(crate) criu: Option<PathBuf>,
    /// Whether sandboxes of templates with an interpreter or a start command wake from
    /// a state that is kept of such a sandbox, where that is faster than to boot. For
    /// programs that one trusts: such sandboxes share the kernel's allowances per user.
    pub(crate) warm_templates: bool,
    /// Size of the state file system's image where one has to be made, in GiB; 0: 80 % of what is free.
    pub(crate) image_gib: u64,
}

/// The network of sandboxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// Private range whose addresses sandboxes have.
    pub(crate) range: String,
    /// What the names of the host's network interfaces for sandboxes begin with.
    pub(crate) interface_prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/warren"),
            instance: "warren".to_owned(),
            isolation: Isolation::Namespaces,
            log_level: "info".to_owned(),
            otlp_endpoint: None,
            extra_ca_file: None,
            listen: Listen::default(),
            tls: Tls::default(),
            api: Api::default(),
            session: Session::default(),
            node: Node::default(),
            network: Network::default(),
            images: Images::default(),
            build: Build::default(),
        }
    }
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

impl Default for Api {
    fn default() -> Self {
        Self {
            require_keys: true,
            domain: None,
            max_sandboxes: 1000,
            max_lifetime_hours: 24,
            wait_for_interpreter: true,
            full_pause: FullPause::Refuse,
            private_webhooks: false,
            rate_limits: BTreeMap::new(),
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            template: "code-interpreter-v1".to_owned(),
            custom_template: None,
            execution_seconds: 300,
            idle_seconds: 1800,
            life_seconds: 3600,
            max_upload_mib: 1024,
            public_url: None,
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            max_sandboxes: 2000,
            memory_overcommit: 4.0,
            disk_overcommit: 20.0,
            output_patience_seconds: 60,
            first_uid: 1_000_000,
            criu: None,
            warm_templates: false,
            image_gib: 0,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { range: "10.213.0.0/16".to_owned(), interface_prefix: "wv".to_owned() }
    }
}

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
    #[arg(long, alias = "no-extra-ports")]
    pub(crate) no_debug_ports: bool,
}

/// A variable of the environment of whoever runs a command; empty counts as not set.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether whoever runs a command asks for no colours: <https://no-color.org>.
pub(crate) fn wants_plain_text() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Puts the settings together and checks them.
pub(crate) fn load(flags: &Flags) -> Result<Options> {
    let mut options = file(flags).map_or_else(|| Ok(Options::default()), |file| read(&file))?;
    apply_environment(&mut options, |name| env::var(name).ok().filter(|value| !value.is_empty()))?;
    apply_flags(&mut options, flags);
    check(&options)?;
    Ok(options)
}

/// The file that [`load`] reads, if it reads one.
pub(crate) fn file(flags: &Flags) -> Option<PathBuf> {
    let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
    flags.config.clone().or_else(default)
}

fn read(file: &Path) -> Result<Options> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("read the settings in {}", file.display()))
}

fn apply_environment(options: &mut Options, get: impl Fn(&str) -> Option<String>) -> Result<()> {
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

fn apply_flags(options: &mut Options, flags: &Flags) {
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

fn check(options: &Options) -> Result<()> {
    if options.listen.main.is_empty() {
        bail!("listen.main is empty: name at least one address and port");
    }
    if let Some(open) =
        options.listen.main.iter().find(|a| !a.ip().is_loopback() && !options.api.require_keys)
    {
        bail!(
            "api.require_keys is off, but {open} can be reached from other machines: listen on loopback or require keys"
        );
    }
    if let Some(open) = options.listen.session.iter().find(|address| !address.ip().is_loopback()) {
        bail!("listen.session has {open}, which is not on loopback: the main listener serves other machines");
    }
    if let Some(open) = options.listen.metrics.iter().find(|address| !address.ip().is_loopback()) {
        bail!("listen.metrics has {open}, which is not on loopback: the main listener serves other machines");
    }
    if let Some(collector) = options.otlp_endpoint.as_deref().filter(|text| !text.starts_with("http://")) {
        bail!(
            "otlp_endpoint is {collector:?}: use http://host:port, of a collector that takes OTLP over HTTP"
        );
    }
    check_session(&options.session)?;
    if !matches!(options.isolation, Isolation::Namespaces | Isolation::Sim) {
        bail!("isolation {:?} is not supported yet: use namespaces", options.isolation.as_str());
    }
    for (key, name) in
        [("instance", &options.instance), ("network.interface_prefix", &options.network.interface_prefix)]
    {
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
        let ordinary = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !(starts_well && ordinary && name.len() <= 7) {
            bail!("{key} is {name:?}: use a lower-case letter and at most 6 letters or digits more");
        }
    }
    check_tls(options)?;
    options.images.check()?;
    options.build.check()?;
    if !(options.node.memory_overcommit > 0.0 && options.node.disk_overcommit > 0.0) {
        bail!("node.memory_overcommit and node.disk_overcommit must be above 0");
    }
    if options.node.output_patience_seconds == 0 {
        bail!("node.output_patience_seconds must be at least 1");
    }
    for (route, limit) in &options.api.rate_limits {
        let is_route = route.split_once(' ').is_some_and(|(_, path)| path.starts_with('/'));
        if !is_route || limit.burst == 0 || limit.period_s.is_nan() || limit.period_s <= 0.0 {
            bail!(
                "api.rate_limits: {route:?} must be a method and a route (\"POST /v2/sandboxes\"), with a \
                 burst and a period_s above 0"
            );
        }
    }
    if options.node.first_uid < 65_536 {
        bail!("node.first_uid must be at least 65536, or sandboxes would share ids with the host");
    }
    Ok(())
}

fn check_session(session: &Session) -> Result<()> {
    for (key, seconds) in [
        ("session.execution_seconds", session.execution_seconds),
        ("session.idle_seconds", session.idle_seconds),
        ("session.life_seconds", session.life_seconds),
    ] {
        if seconds == 0 {
            bail!("{key} must be above 0");
        }
    }
    Ok(())
}

fn check_tls(options: &Options) -> Result<()> {
    let tls = &options.tls;
    if tls.certificate.is_some() != tls.key.is_some() {
        bail!("tls.certificate and tls.key belong together: name both or none");
    }
    if tls.own_authority && tls.certificate.is_some() {
        bail!("tls.own_authority makes certificates and tls.certificate names one: choose");
    }
    if let Some(domain) = &options.api.domain
        && !is_domain(domain)
    {
        bail!(
            "api.domain is {domain:?}: use lower-case letters, digits, hyphens and dots, and a port if need be"
        );
    }
    match &options.api.domain {
        None if tls.own_authority => bail!("tls.own_authority needs api.domain (or --domain NAME)"),
        // Clients refuse wildcards right below the root.
        Some(domain) if tls.own_authority && !domain.contains('.') => {
            bail!(
                "api.domain is {domain:?}: clients take *.NAME only for a name of two parts, such as warren.{domain}"
            )
        }
        _ => Ok(()),
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

/// Isolation as its name.
mod isolation {
    use model::Isolation;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's interface")]
    pub(super) fn serialize<S: Serializer>(value: &Isolation, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Isolation, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        let options = Options::default();
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<Options>(&text).unwrap(), options);
    }

    #[test]
    fn unknown_keys_are_named() {
        let error = toml::from_str::<Options>("[listen]\nmian = []\n").unwrap_err().to_string();
        assert!(error.contains("mian"), "{error}");
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let mut options = Options::default();
        let env = |name: &str| (name == "WARREN_STATE_DIR").then(|| "/env".to_owned());
        apply_environment(&mut options, env).unwrap();
        assert_eq!(options.state_dir, Path::new("/env"));
        let flags = Flags { state_dir: Some("/flag".into()), no_keys: true, ..Flags::default() };
        apply_flags(&mut options, &flags);
        assert_eq!(options.state_dir, Path::new("/flag"));
        assert!(!options.api.require_keys);
    }

    #[test]
    fn names_that_the_kernel_would_refuse_are_refused_here() {
        let mut options = Options::default();
        options.network.interface_prefix = "Much too long".to_owned();
        assert!(check(&options).unwrap_err().to_string().contains("network.interface_prefix"));
    }

    #[test]
    fn the_session_api_has_its_port_on_loopback_or_none() {
        let mut options = Options::default();
        assert!(check(&options).is_ok());
        options.listen.session = vec!["0.0.0.0:8000".parse().unwrap()];
        assert!(check(&options).unwrap_err().to_string().contains("listen.session"));
        apply_flags(&mut options, &Flags { no_debug_ports: true, ..Flags::default() });
        assert!(options.listen.session.is_empty() && check(&options).is_ok());
        options.session.idle_seconds = 0;
        assert!(check(&options).unwrap_err().to_string().contains("session.idle_seconds"));
    }

    #[test]
    fn measurements_without_a_token_stay_on_loopback() {
        let mut options = Options::default();
        options.listen.metrics = vec!["127.0.0.1:9464".parse().unwrap(), "0.0.0.0:9464".parse().unwrap()];
        assert!(check(&options).unwrap_err().to_string().contains("listen.metrics has 0.0.0.0"));
    }

    #[test]
    fn a_domain_brings_its_own_authority_unless_a_certificate_is_given() {
        let with = |flags: Flags| {
            let mut options = Options::default();
            apply_flags(&mut options, &flags);
            check(&options).map(|()| options)
        };
        let own = with(Flags { domain: Some("Sbx.example:8443".to_owned()), ..Flags::default() }).unwrap();
        assert_eq!((own.api.domain.as_deref(), own.tls.own_authority), (Some("sbx.example:8443"), true));
        let given = with(Flags {
            domain: Some("sbx.example".to_owned()),
            tls_certificate: Some("/c".into()),
            tls_key: Some("/k".into()),
            ..Flags::default()
        });
        assert!(!given.unwrap().tls.own_authority);
        for bad in ["localhost", "a b.example", "-a.example", "a..example", "a.example:x", "../x.y"] {
            assert!(with(Flags { domain: Some(bad.to_owned()), ..Flags::default() }).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_open_server_without_keys_is_refused() {
        let mut options = Options::default();
        options.api.require_keys = false;
        assert!(check(&options).is_ok());
        options.listen.main = vec!["0.0.0.0:3000".parse().unwrap()];
        assert!(check(&options).unwrap_err().to_string().contains("require_keys"));
    }
}

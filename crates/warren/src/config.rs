//! Every setting of the server, its default, and where it comes from: defaults,
//! then the file, then the environment, then the command line. The only file of
//! the server that reads the environment.

mod api;
mod flags;
mod host;
mod listen;
mod templates;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use model::Isolation;
use serde::{Deserialize, Serialize};

use flags::{apply_environment, apply_flags};

pub(crate) use api::{Api, FullPause, Session};
pub(crate) use flags::Flags;
pub(crate) use host::{Network, Node};
pub(crate) use listen::{Listen, Tls};
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
    #[serde(with = "host::isolation")]
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
    apply_environment(&mut options, variable)?;
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

impl Options {
    /// Whether webhooks may lead to this machine and into private networks.
    pub(crate) fn may_post_privately(&self) -> bool {
        let is_for_this_machine =
            self.api.domain.is_none() && self.listen.main.iter().all(|address| address.ip().is_loopback());
        self.api.private_webhooks.unwrap_or(is_for_this_machine)
    }
}

fn check(options: &Options) -> Result<()> {
    if !matches!(options.isolation, Isolation::Namespaces | Isolation::Sim) {
        bail!("isolation {:?} is not supported yet: use namespaces", options.isolation.as_str());
    }
    host::check_name("instance", &options.instance)?;
    host::check_name("network.interface_prefix", &options.network.interface_prefix)?;
    if let Some(collector) = options.otlp_endpoint.as_deref().filter(|text| !text.starts_with("http://")) {
        bail!(
            "otlp_endpoint is {collector:?}: use http://host:port, of a collector that takes OTLP over HTTP"
        );
    }
    options.listen.check(options.api.require_keys)?;
    options.tls.check(options.api.domain.as_deref())?;
    options.api.check()?;
    options.session.check()?;
    options.node.check()?;
    options.images.check()?;
    options.build.check()
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
    fn webhooks_lead_to_this_machine_while_only_its_programs_can_ask_for_them() {
        let read = |text: &str| toml::from_str::<Options>(text).unwrap().may_post_privately();
        assert!(read(""));
        assert!(!read("[listen]\nmain = [\"127.0.0.1:3000\", \"0.0.0.0:3000\"]\n"));
        assert!(!read("[api]\ndomain = \"warren.example\"\n"));
        assert!(!read("[api]\nprivate_webhooks = false\n"));
        assert!(read("[api]\ndomain = \"warren.example\"\nprivate_webhooks = true\n"));
    }

    #[test]
    fn a_rate_limit_is_for_an_operation_of_the_api() {
        let check = |route: &str| {
            let text = format!("[api.rate_limits.\"{route}\"]\nburst = 1\nperiod_s = 1.0\n");
            toml::from_str::<Options>(&text).unwrap().api.check().map_err(|e| e.to_string())
        };
        assert!(check("POST /sandboxes/{sandboxID}/timeout").is_ok());
        let error = check("POST /sandboxes/{id}/timeout").unwrap_err();
        assert!(error.contains("openapi.yaml"), "{error}");
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

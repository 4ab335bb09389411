//! Settings of template builds: where images come from, how long builds take.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use node::Limits;
use node::image::{ImageOptions, StandIns};
use serde::{Deserialize, Serialize};

/// Images that templates start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Images {
    /// Registries that images may come from, such as `docker.io`; empty: any.
    pub(crate) allowed: Vec<String>,
    /// Registries, `host` or `host:port`, that are spoken to without TLS.
    pub(crate) plain_http: Vec<String>,
    /// URLs that are asked before a registry, without credentials:
    /// `"docker.io" = ["http://mirror.example:5000"]`.
    pub(crate) mirrors: BTreeMap<String, Vec<String>>,
    /// When a built-in template stands in for an image of Debian, Ubuntu, Python or Node.js: when the
    /// registry is `unreachable`, `always`, or `never`.
    pub(crate) stand_ins: StandIns,
    /// The largest image, in GiB of its layers unpacked.
    pub(crate) max_gib: u64,
    /// Where Amazon's registries give passwords; unset: the region's own place.
    pub(crate) aws_endpoint: Option<String>,
}

/// How long builds of templates may take, and how many run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Build {
    /// Builds at a time; others wait.
    pub(crate) parallel: usize,
    /// A whole build, in seconds,
    pub(crate) seconds: u64,
    /// each of its steps,
    pub(crate) step_seconds: u64,
    /// and its ready command.
    pub(crate) ready_seconds: u64,
}

impl Default for Images {
    fn default() -> Self {
        let options = ImageOptions::default();
        Self {
            allowed: options.allowed,
            plain_http: options.plain_http,
            mirrors: options.mirrors,
            stand_ins: options.stand_ins,
            max_gib: options.max_bytes >> 30,
            aws_endpoint: options.aws_endpoint,
        }
    }
}

impl Default for Build {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            parallel: limits.builds,
            seconds: limits.build.as_secs(),
            step_seconds: limits.build_step.as_secs(),
            ready_seconds: limits.build_ready.as_secs(),
        }
    }
}

impl Images {
    /// As the node takes them.
    pub(crate) fn options(&self) -> ImageOptions {
        ImageOptions {
            mirrors: self.mirrors.clone(),
            plain_http: self.plain_http.clone(),
            allowed: self.allowed.clone(),
            aws_endpoint: self.aws_endpoint.clone(),
            stand_ins: self.stand_ins,
            max_bytes: self.max_gib.saturating_mul(1 << 30),
            ..ImageOptions::default()
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let urls = self.mirrors.values().flatten().chain(&self.aws_endpoint);
        for url in urls {
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                bail!("images.mirrors and images.aws_endpoint hold URLs, {url:?} is none");
            }
        }
        if let Some(host) = self.plain_http.iter().find(|host| host.contains('/')) {
            bail!("images.plain_http holds hosts (\"host:port\"), {host:?} is none");
        }
        if self.max_gib == 0 {
            bail!("images.max_gib must be above 0");
        }
        Ok(())
    }
}

impl Build {
    /// The limits of a node with these among them.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            builds: self.parallel,
            build: Duration::from_secs(self.seconds),
            build_step: Duration::from_secs(self.step_seconds),
            build_ready: Duration::from_secs(self.ready_seconds),
            ..Limits::default()
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        for (key, value) in [
            ("parallel", self.parallel as u64),
            ("seconds", self.seconds),
            ("step_seconds", self.step_seconds),
            ("ready_seconds", self.ready_seconds),
        ] {
            if value == 0 {
                bail!("build.{key} must be above 0");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_nodes_and_nonsense_is_refused() {
        assert_eq!(Images::default().options(), ImageOptions::default());
        assert_eq!(Build::default().limits(), Limits::default());
        assert!(Images { plain_http: vec!["http://x".to_owned()], ..Images::default() }.check().is_err());
        let mirrors = BTreeMap::from([("docker.io".to_owned(), vec!["mirror".to_owned()])]);
        assert!(Images { mirrors, ..Images::default() }.check().is_err());
        assert!(Build { step_seconds: 0, ..Build::default() }.check().is_err());
    }
}

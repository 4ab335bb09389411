//! What registries answer: indexes, manifests, configurations. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::reference::Digest;

/// What is asked for, in the words of both families.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Layers of one image.
const MOST_LAYERS: usize = 512;

/// The platform of sandboxes.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "arm64";

/// What a reference leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// An image.
    Manifest(Manifest),
    /// The manifest of this platform's image.
    Index(Digest),
}

/// An image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Blob,
    pub(super) layers: Vec<Blob>,
}

/// A file of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// What an image says of the processes in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) workdir: Option<String>,
    pub(crate) user: Option<String>,
    /// What a container of it would run.
    pub(crate) command: Vec<String>,
    /// What its layers unpack to, lowest first; empty if it does not say.
    pub(super) diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u32,
    manifests: Option<Vec<WireEntry>>,
    config: Option<WireBlob>,
    layers: Option<Vec<WireBlob>>,
}

#[derive(Deserialize)]
struct WireEntry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBlob {
    digest: String,
    size: u64,
    #[serde(default)]
    media_type: String,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|e| format!("its manifest cannot be read: {e}"))?;
        match wire {
            Wire { schema_version: 2, manifests: Some(entries), .. } => ours(&entries).map(Self::Index),
            Wire { schema_version: 2, config: Some(config), layers: Some(layers), .. } => {
                if layers.len() > MOST_LAYERS {
                    return Err(format!("it has {} layers; {MOST_LAYERS} are the most", layers.len()));
                }
                let layers = layers.iter().map(Blob::layer).collect::<Result<_, _>>()?;
                Ok(Self::Manifest(Manifest { config: Blob::parse(&config)?, layers }))
            }
            Wire { schema_version: 2, .. } => Err("its manifest is of no image".to_owned()),
            Wire { schema_version, .. } => {
                Err(format!("its manifest has the version {schema_version}; only version 2 is understood"))
            }
        }
    }
}

fn ours(entries: &[WireEntry]) -> Result<Digest, String> {
    let is_ours = |entry: &&WireEntry| {
        entry.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == ARCHITECTURE)
    };
    if let Some(entry) = entries.iter().find(is_ours) {
        return entry.digest.parse();
    }
    let others = entries.iter().filter_map(|entry| entry.platform.as_ref());
    let others: Vec<String> = others.map(|p| format!("{}/{}", p.os, p.architecture)).take(20).collect();
    Err(format!("it has no image for linux/{ARCHITECTURE}, only for: {}", others.join(", ")))
}

impl Blob {
    fn parse(wire: &WireBlob) -> Result<Self, String> {
        Ok(Self { digest: wire.digest.parse()?, size: wire.size })
    }

    fn layer(wire: &WireBlob) -> Result<Self, String> {
        if wire.media_type.contains("foreign") || wire.media_type.contains("nondistributable") {
            return Err("one of its layers is kept elsewhere than in the registry".to_owned());
        }
        if !wire.media_type.contains("tar") {
            return Err(format!("one of its layers is no archive but {:?}", wire.media_type));
        }
        Self::parse(wire)
    }
}

#[derive(Deserialize)]
struct WireConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    config: Option<WireProcess>,
    rootfs: Option<WireRoot>,
}

#[derive(Deserialize)]
struct WireRoot {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct WireProcess {
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
}

impl Config {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wire: WireConfig =
            serde_json::from_slice(bytes).map_err(|e| format!("its configuration cannot be read: {e}"))?;
        let fits = |text: &str, wanted: &str| text.is_empty() || text == wanted;
        if !fits(&wire.os, "linux") || !fits(&wire.architecture, ARCHITECTURE) {
            let WireConfig { os, architecture, .. } = wire;
            return Err(format!("it is for {os}/{architecture}, sandboxes are linux/{ARCHITECTURE}"));
        }
        let diff_ids = wire.rootfs.map(|root| root.diff_ids).unwrap_or_default();
        let diff_ids = diff_ids.iter().map(|id| id.parse()).collect::<Result<Vec<Digest>, _>>();
        let diff_ids = diff_ids.map_err(|why| format!("of its configuration's layers, {why}"))?;
        let process = wire.config.unwrap_or_default();
        let env = process.env.unwrap_or_default();
        let pairs = env.iter().filter_map(|pair| pair.split_once('='));
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let mut command = process.entrypoint.unwrap_or_default();
        command.extend(process.cmd.unwrap_or_default());
        Ok(Self {
            env: pairs
                .filter(|(name, _)| !name.is_empty())
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
            workdir: given(process.working_dir).filter(|dir| dir.starts_with('/') && dir != "/"),
            user: given(process.user).filter(|user| !matches!(user.as_str(), "root" | "0" | "0:0")),
            command,
            diff_ids,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn the_image_of_this_platform_is_chosen() {
        let index = |arch: &str| {
            let attested = r#"{"digest":"x","platform":{"os":"unknown","architecture":"unknown"}}"#;
            let one =
                format!(r#"{{"digest":"{ZEROS}","platform":{{"os":"linux","architecture":"{arch}"}}}}"#);
            Document::parse(format!(r#"{{"schemaVersion":2,"manifests":[{attested},{one}]}}"#).as_bytes())
        };
        assert_eq!(index(ARCHITECTURE).unwrap(), Document::Index(ZEROS.parse().unwrap()));
        let refused = index("s390x").unwrap_err();
        assert!(refused.contains("linux/s390x"), "{refused}");
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        let layer = |kind: &str| {
            let layer = format!(r#"{{"digest":"{ZEROS}","size":1,"mediaType":"{kind}"}}"#);
            let config = format!(r#"{{"digest":"{ZEROS}","size":1}}"#);
            Document::parse(
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#).as_bytes(),
            )
        };
        assert!(layer("application/vnd.oci.image.layer.v1.tar+zstd").is_ok());
        assert!(
            layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
                .unwrap_err()
                .contains("elsewhere")
        );
        assert!(layer("application/vnd.helm.chart").unwrap_err().contains("no archive"));
        assert!(Document::parse(br#"{"schemaVersion":1}"#).unwrap_err().contains("version 1"));
        assert!(Document::parse(b"<html>").is_err());
    }

    #[test]
    fn a_configuration_says_what_processes_get() {
        let config = Config::parse(
            br#"{"os":"linux","config":{"Env":["A=1=2","=x","B"],"WorkingDir":"/","User":"0","Cmd":["sh"]}}"#,
        )
        .unwrap();
        assert_eq!(config.env, BTreeMap::from([("A".to_owned(), "1=2".to_owned())]));
        assert_eq!((config.workdir, config.user, config.command), (None, None, vec!["sh".to_owned()]));
        assert!(Config::parse(br#"{"os":"windows"}"#).is_err());
    }
}

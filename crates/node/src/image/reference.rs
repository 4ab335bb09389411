//! Names of images, as people write them. Pure.

use std::fmt;
use std::str::FromStr;

use crate::hex::hex;

/// Where names without a registry lead.
const DEFAULT_REGISTRY: &str = "docker.io";

/// Longest name that is looked at.
const LONGEST: usize = 512;

/// An image's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Host, perhaps with a port.
    pub(super) registry: String,
    /// For example `library/debian`.
    pub(super) repository: String,
    pub(super) version: Version,
}

/// Which of a repository's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    Tag(String),
    Digest(Digest),
}

/// What a blob's content hashes to: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(String);

impl Digest {
    /// The digits alone.
    pub(super) fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }

    /// Of bytes at hand.
    pub(super) fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::of_hash(&sha2::Sha256::digest(bytes))
    }

    pub(super) fn of_hash(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(hash)))
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(is_hex) => Ok(Self(text.to_owned())),
            _ => Err(format!("{:?} is no SHA-256 digest", text.chars().take(100).collect::<String>())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if matches!(self.version, Version::Tag(_)) { ':' } else { '@' };
        write!(f, "{}/{}{mark}{}", self.registry, self.repository, self.version)
    }
}

impl FromStr for Reference {
    type Err = String;

    /// A first part with a dot, a colon or the word `localhost` is a registry. A
    /// digest wins over a tag beside it.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} characters"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => (DEFAULT_REGISTRY, name),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (rest, None),
        };
        let tag = tag.unwrap_or("latest");
        if !is_host(registry) || !repository.split('/').all(is_part) || !is_tag(tag) {
            return Err("it is no image reference ([registry/]name[:tag][@digest], in lower case)".to_owned());
        }
        let alone = registry == DEFAULT_REGISTRY && !repository.contains('/');
        Ok(Self {
            registry: registry.to_owned(),
            repository: if alone { format!("library/{repository}") } else { repository.to_owned() },
            version: digest.map_or_else(|| Version::Tag(tag.to_owned()), Version::Digest),
        })
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(plain)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_part(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inside = |b: u8| plain(b) || b"._-".contains(&b);
    part.bytes().all(inside)
        && part.bytes().next().is_some_and(plain)
        && part.bytes().last().is_some_and(plain)
}

fn is_tag(tag: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(first)
        && tag.bytes().all(|b| first(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_completed_as_people_expect() {
        for (text, expected) in [
            ("debian", "docker.io/library/debian:latest"),
            ("bitnami/python:3", "docker.io/bitnami/python:3"),
            ("localhost:5000/a/b:v1.0", "localhost:5000/a/b:v1.0"),
            ("ghcr.io/o/n", "ghcr.io/o/n:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), expected);
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        let both = format!("x.example/a:tag@{digest}").parse::<Reference>().unwrap();
        assert_eq!(both.to_string(), format!("x.example/a@{digest}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in
            ["", "a//b", "UPPER", "a:", "a b", "host:99999/a", "../a", "a@sha512:00", "a/../b", "x.y/"]
        {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(text in "[a-zA-Z0-9._:/@-]{0,60}") {
            if let Ok(first) = text.parse::<Reference>() {
                prop_assert_eq!(first.to_string().parse::<Reference>().unwrap(), first);
            }
        }
    }
}

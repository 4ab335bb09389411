//! Images of OCI registries, as layers that templates start from.
//!
//! ```text
//!   reference → manifest of this platform → blobs, verified, on disk
//!             → unpacked on top of one another into one directory, from the tree of
//!               the lowest layers that is known (`chain`)
//!             → the account `user` and mount points, where missing → a layer
//! ```
//!
//! Everything that a registry says is a stranger's: answers are bounded, content
//! is hashed before anything parses it, and what is unpacked is resolved by the
//! kernel beneath the layer's directory (`tree`).

mod account;
mod archive;
mod aws;
mod chain;
mod challenge;
mod download;
mod http;
mod manifest;
mod plain;
mod pull;
mod reference;
mod registry;
mod stack;
mod tree;
mod unpack;
mod zstd;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::disk;

pub use http::NoAnswer;
pub(crate) use pull::{Base, Image, Plan, Puller, forget_blobs};
pub use unpack::{Failed as UnpackError, unpack_layer};

/// How images are had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// For a registry, the URLs of places that are asked before it, without credentials.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registries, `host` or `host:port`, that are spoken to without TLS.
    pub plain_http: Vec<String>,
    /// Registries that images may come from; empty for any.
    pub allowed: Vec<String>,
    /// Where Amazon's registries give passwords, instead of the region's own place.
    pub aws_endpoint: Option<String>,
    /// When a local template stands in for an image.
    pub stand_ins: StandIns,
    /// Bytes of one image's layers, unpacked.
    pub max_bytes: u64,
    /// Entries of one image's layers.
    pub max_entries: u64,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            mirrors: BTreeMap::new(),
            plain_http: Vec::new(),
            allowed: Vec::new(),
            aws_endpoint: None,
            stand_ins: StandIns::Unreachable,
            max_bytes: 32 << 30,
            max_entries: 2_000_000,
        }
    }
}

/// When a local template stands in for a familiar image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandIns {
    /// When its registry cannot be reached.
    Unreachable,
    /// Without asking its registry.
    Always,
    /// Never: the build fails.
    Never,
}

/// What a registry asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// Any registry.
    Password {
        /// Account.
        username: String,
        /// Its password or token.
        password: String,
    },
    /// Amazon's.
    Aws {
        /// Access key.
        access_key_id: String,
        /// Its secret.
        secret_access_key: String,
        /// Region.
        region: String,
    },
    /// Google's.
    Gcp {
        /// The key file of a service account.
        key: String,
    },
}

/// Without secrets.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::Aws { .. } => "Aws(…)",
            Self::Gcp { .. } => "Gcp(…)",
        })
    }
}

/// An image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reference is none.
    #[error("{image:?} names no image: {why}")]
    Reference {
        /// As it was given.
        image: String,
        /// What is wrong with it.
        why: String,
    },
    /// The operator lets no image come from there.
    #[error("the image {image} may not be used: its registry is not among images.allowed")]
    NotAllowed {
        /// The image.
        image: String,
    },
    /// The registry could not be reached.
    #[error("the registry of the image {image} cannot be reached")]
    Unreachable {
        /// The image.
        image: String,
        /// Why not.
        #[source]
        source: NoAnswer,
    },
    /// The registry has no such image.
    #[error("the registry has no image {image}; it said: {said}")]
    Absent {
        /// The image.
        image: String,
        /// In the registry's words.
        said: String,
    },
    /// The registry does not give it to us.
    #[error("the registry does not give the image {image} {with}; it said: {said}")]
    Denied {
        /// The image.
        image: String,
        /// With which credentials.
        with: &'static str,
        /// In the registry's words.
        said: String,
    },
    /// The registry answered something else.
    #[error("the registry answered {status} when asked for the image {image}; it said: {said}")]
    Answered {
        /// The image.
        image: String,
        /// HTTP status.
        status: u16,
        /// In the registry's words.
        said: String,
    },
    /// The image is not what it should be, or not for sandboxes.
    #[error("the image {image} cannot be used: {why}")]
    Unusable {
        /// The image.
        image: String,
        /// Why not.
        why: String,
    },
    /// A layer could not be unpacked.
    #[error("layer {layer} of the image {image} cannot be unpacked")]
    Layer {
        /// The image.
        image: String,
        /// Which layer, from 1, the lowest first.
        layer: usize,
        /// Why not.
        #[source]
        source: UnpackError,
    },
    /// A file operation of the node failed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Error {
    /// Whether another place may have the image, or a stand-in may take its place.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
            || matches!(self, Self::Answered { status, .. } if *status >= 500)
    }
}

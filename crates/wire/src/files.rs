//! The plain HTTP routes of the daemon on port 49983: `/files`, `/metrics`, errors.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::query::Query;

/// Header that carries the sandbox's token.
pub const ACCESS_TOKEN_HEADER: &str = "x-access-token";
/// Start of the headers that attach metadata to an upload.
pub const METADATA_HEADER_PREFIX: &str = "x-metadata-";
/// Start of the extended attributes that hold metadata.
pub const METADATA_XATTR_PREFIX: &str = "user.e2b.";

/// One stored file, in the answer of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// Last element of the path.
    pub name: String,
    /// Where it was stored.
    pub path: String,
    /// Always `file`.
    #[serde(rename = "type", default = "file")]
    pub file_type: String,
    /// What the caller attached.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Body of a failed request of these routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpError {
    /// The HTTP status again.
    pub code: u16,
    /// For people.
    pub message: String,
}

/// Answer of `GET /metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Unix seconds.
    pub ts: i64,
    /// Processors that the sandbox may use.
    pub cpu_count: u32,
    /// Of all of them, since the last call, with two decimals.
    pub cpu_used_pct: f64,
    /// In MiB.
    pub mem_total_mib: u64,
    /// In MiB.
    pub mem_used_mib: u64,
    /// In bytes.
    pub mem_total: u64,
    /// In bytes, without the page cache.
    pub mem_used: u64,
    /// In bytes.
    pub mem_cache: u64,
    /// In bytes.
    pub disk_used: u64,
    /// In bytes.
    pub disk_total: u64,
}

/// What a signed URL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `GET /files`.
    Read,
    /// `POST /files`.
    Write,
}

/// Signature of a `/files` URL. `path` and `username` are the decoded query
/// values exactly as sent, `username` empty if there is none; `expiration` is in
/// Unix seconds.
pub fn signature(
    path: &str,
    operation: Operation,
    username: &str,
    token: &str,
    expiration: Option<i64>,
) -> String {
    let operation = match operation {
        Operation::Read => "read",
        Operation::Write => "write",
    };
    let expiration = expiration.map(|seconds| format!(":{seconds}")).unwrap_or_default();
    let raw = format!("{path}:{operation}:{username}:{token}{expiration}");
    format!("v1_{}", STANDARD_NO_PAD.encode(Sha256::digest(raw.as_bytes())))
}

/// A `/files` URL that carries a signature instead of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUrl {
    path: String,
    username: String,
    operation: Operation,
    signature: String,
    /// Unix seconds after which it is void, if there are any.
    pub expiration: Option<i64>,
}

/// The expiration of a signed URL is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid signature expiration")]
pub struct BadExpiration;

impl SignedUrl {
    /// The signed URL of this query; `None` without a signature.
    pub fn of(query: &Query, operation: Operation) -> Result<Option<Self>, BadExpiration> {
        let Some(signature) = query.get("signature") else { return Ok(None) };
        let expiration = query.get("signature_expiration").map(str::parse).transpose();
        let value = |name| query.get(name).unwrap_or_default().to_owned();
        Ok(Some(Self {
            path: value("path"),
            username: value("username"),
            operation,
            signature: signature.to_owned(),
            expiration: expiration.map_err(|_| BadExpiration)?,
        }))
    }

    /// Whether this token made the signature. Whether it is still valid is
    /// another question.
    pub fn is_opened_by(&self, token: &str) -> bool {
        let wanted = signature(&self.path, self.operation, &self.username, token, self.expiration);
        same(self.signature.as_bytes(), wanted.as_bytes())
    }
}

/// Compares without telling by its duration how much was right.
pub fn same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len() && given.iter().zip(wanted).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

fn file() -> String {
    "file".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_url_is_opened_by_its_token_alone() {
        let of = |query: &str| SignedUrl::of(&Query::parse(Some(query)), Operation::Read);
        let vector = "path=/home/user/a+b.txt&username=user&signature=v1_Y8IQlyJqKv53mNXK/5F%2BX/AcrsOQon44dTy59t1O9Hw";
        let url = of(vector).unwrap().unwrap();
        assert!(url.is_opened_by("secret-token"));
        assert!(!url.is_opened_by("secret-tokem"));
        assert!(!url.is_opened_by(""));
        assert_eq!(of("path=/x"), Ok(None));
        assert_eq!(of("signature=v1_&signature_expiration=soon"), Err(BadExpiration));
    }

    #[test]
    fn signatures_match_the_reference() {
        assert_eq!(
            signature("/home/user/a b.txt", Operation::Read, "user", "secret-token", None),
            "v1_Y8IQlyJqKv53mNXK/5F+X/AcrsOQon44dTy59t1O9Hw"
        );
        assert_eq!(
            signature("/home/user/a b.txt", Operation::Write, "", "secret-token", Some(1_700_000_000)),
            "v1_R7hPDLrA0+zEppIXZTpqhn33dlgcEXlGtAjYF42tDlY"
        );
    }
}

//! Secrets: values that sandboxes use without seeing them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use wire::rest::Rfc3339;

use crate::api::Api;
use crate::http::{escape, query};
use crate::pages::Paginator;
use crate::sandbox::moment;
use crate::{Config, Error, ErrorKind};

/// The calls about secrets. A value is sent once and never told again.
#[derive(Debug, Clone, Copy)]
pub struct Secret;

/// What the server tells of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its id.
    pub secret_id: String,
    /// Its name.
    pub name: String,
    /// Counts its values.
    pub current_version: u64,
    /// The user's own labels.
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it got its newest value.
    pub updated_at: SystemTime,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(rename = "secretID")]
    secret_id: String,
    name: String,
    current_version: u64,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    created_at: Rfc3339,
    updated_at: Rfc3339,
}

impl From<Told> for SecretInfo {
    fn from(told: Told) -> Self {
        Self {
            secret_id: told.secret_id,
            name: told.name,
            current_version: told.current_version,
            metadata: told.metadata,
            created_at: moment(told.created_at),
            updated_at: moment(told.updated_at),
        }
    }
}

#[derive(Serialize)]
struct NewValue<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    value: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

impl Secret {
    /// Stores a value under a new name.
    pub async fn create(
        config: &Config,
        name: &str,
        value: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<SecretInfo, Error> {
        let body = NewValue { name: Some(name), value, metadata };
        Self::told(Api::new(config).post("/secrets", &body).await)
    }

    /// Gives a secret, by id or name, a new value.
    pub async fn update(
        config: &Config,
        secret: &str,
        value: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<SecretInfo, Error> {
        let body = NewValue { name: None, value, metadata };
        Self::told(Api::new(config).post(&path(secret), &body).await.map_err(missing))
    }

    /// What the server tells of a secret, by id or name.
    pub async fn info(config: &Config, secret: &str) -> Result<SecretInfo, Error> {
        Self::told(Api::new(config).get(&path(secret)).await.map_err(missing))
    }

    /// Whether there is such a secret.
    pub async fn exists(config: &Config, secret: &str) -> Result<bool, Error> {
        match Self::info(config, secret).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::SecretNotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// All of them, page by page; a page holds `limit` (1 to 100).
    pub fn list(config: &Config, limit: Option<u32>, next_token: Option<String>) -> Paginator<SecretInfo> {
        let path = format!("/secrets{}", query(&[("limit", limit.map(|limit| limit.to_string()))]));
        Paginator::new::<Told>(config, path, next_token, Some(ErrorKind::Secret))
    }

    /// Removes a secret. `false` if there was none.
    pub async fn destroy(config: &Config, secret: &str) -> Result<bool, Error> {
        Api::new(config).delete(&path(secret)).await.map_err(family)
    }

    /// What stands for the secret's value in a header that
    /// [`crate::Network::inject_header`] adds.
    pub fn fill(secret: &str) -> String {
        format!("${{e2b.secrets.{secret}}}")
    }

    fn told(answer: Result<Told, Error>) -> Result<SecretInfo, Error> {
        answer.map(SecretInfo::from).map_err(family)
    }
}

fn path(secret: &str) -> String {
    format!("/secrets/{}", escape(secret))
}

fn missing(error: Error) -> Error {
    error.refine(ErrorKind::NotFound, ErrorKind::SecretNotFound)
}

fn family(error: Error) -> Error {
    error.of_family(ErrorKind::Secret)
}

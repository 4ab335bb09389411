//! Reading requests: who asks, about what, with which body and query.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use model::SandboxId;
use serde::de::DeserializeOwned;

use super::error::Failure;
use crate::App;
use crate::app::{Caller, Credentials};

/// A body must have arrived within this.
const BODY_TIME: Duration = Duration::from_secs(10);

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        Ok(app.authenticate(&credentials(parts)).await?)
    }
}

fn credentials(parts: &Parts) -> Credentials {
    // A header that is not text is a malformed key, not a missing one.
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    Credentials { api_key: parts.headers.get("x-api-key").map(text).filter(|key| !key.is_empty()) }
}

/// The key that a request brought, also as a bearer token (the command line
/// sends it so when it logs in).
pub(super) struct AnyKey(pub(super) Credentials);

impl FromRequestParts<App> for AnyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        let own = credentials(parts);
        let bearer = || {
            let value = parts.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
            value.strip_prefix("Bearer ").map(|key| key.trim().to_owned())
        };
        Ok(Self(Credentials { api_key: own.api_key.or_else(bearer) }))
    }
}

/// The sandbox in the path.
pub(super) struct Id(pub(super) SandboxId);

impl FromRequestParts<App> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let invalid = || Failure::bad_request("Invalid sandbox ID");
        let Path(text) = Path::<String>::from_request_parts(parts, app).await.map_err(|_| invalid())?;
        text.parse().map(Self).map_err(|_| invalid())
    }
}

/// The key of a request that must take effect at most once.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let is_allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let key = value
            .to_str()
            .ok()
            .filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| is_allowed(&b)));
        let refused =
            || Failure::bad_request("Idempotency-Key must be 1 to 255 characters of a-z, 0-9 and -");
        key.map(|key| Self(Some(key.to_owned()))).ok_or_else(refused)
    }
}

/// The query, by its fields.
pub(super) struct Fields<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Fields<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query
            .map(|Query(fields)| Self(fields))
            .map_err(|e| Failure::bad_request(format!("validation error: {}", e.body_text())))
    }
}

/// A JSON body. Neither its content type nor a length is asked for: some
/// clients send neither.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        parse(&read(request, app).await?).map(Self)
    }
}

/// A JSON body that may be left out.
pub(super) struct MaybeBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequest<App> for MaybeBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let bytes = read(request, app).await?;
        let text = bytes.trim_ascii();
        if text.is_empty() || text == b"null" { Ok(Self(T::default())) } else { parse(text).map(Self) }
    }
}

async fn read(request: Request, app: &App) -> Result<Bytes, Failure> {
    let late = || Failure::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time");
    let body =
        tokio::time::timeout(BODY_TIME, Bytes::from_request(request, app)).await.map_err(|_| late())?;
    body.map_err(|rejection| unreadable(&rejection))
}

fn unreadable(rejection: &BytesRejection) -> Failure {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let limit = super::BODY_LIMIT >> 20;
            Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request's body is larger than {limit} MiB"),
            )
        }
        _ => Failure::bad_request("Error when parsing request: the body broke off"),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|e| Failure::bad_request(format!("Error when parsing request: {e}")))
}

//! Reading requests: who asks, about what, with which body and query.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use model::{InvalidId, SandboxId};
use serde::de::DeserializeOwned;

use super::error::Failure;
use crate::App;
use crate::app::{Caller, Credentials, Error};

/// A body must have arrived within this.
const BODY_TIME: Duration = Duration::from_secs(10);

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        // The rate limit may have looked already.
        match parts.extensions.get::<Self>() {
            Some(caller) => Ok(caller.clone()),
            None => Ok(app.authenticate(&credentials(parts)).await?),
        }
    }
}

/// What a request brought to say who sent it.
pub(super) fn credentials(parts: &Parts) -> Credentials {
    // A header that is not text is a malformed key, not a missing one.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    let header = |name: &str| parts.headers.get(name).map(text).filter(|value| !value.is_empty());
    let bearer = header("authorization").and_then(|value| {
        let token = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer "))?;
        Some(token.trim().to_owned()).filter(|token| !token.is_empty())
    });
    Credentials {
        api_key: header("x-api-key"),
        bearer,
        admin_token: header("x-admin-token"),
        team_id: header("x-team-id"),
        is_harmless: matches!(parts.method, Method::GET | Method::HEAD | Method::DELETE),
    }
}

/// The credentials themselves.
pub(in crate::api) struct AnyCredentials(pub(in crate::api) Credentials);

impl FromRequestParts<App> for AnyCredentials {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Ok(Self(credentials(parts)))
    }
}

/// A caller who may manage the keys of a team.
pub(in crate::api) struct Manager(pub(in crate::api) Caller);

impl FromRequestParts<App> for Manager {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, app).await?;
        if caller.may_manage { Ok(Self(caller)) } else { Err(Error::KeyCannotManage.into()) }
    }
}

/// A person who logged in.
pub(in crate::api) struct Person(pub(in crate::api) store::User);

impl FromRequestParts<App> for Person {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        Ok(Self(app.authenticate_user(&credentials(parts)).await?))
    }
}

/// The operator.
pub(in crate::api) struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        app.authenticate_admin(&credentials(parts))?;
        Ok(Self)
    }
}

/// The one id in the path.
pub(in crate::api) struct Part<T>(pub(in crate::api) T);

impl<T: FromStr<Err = InvalidId>> FromRequestParts<App> for Part<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let text = Path::<String>::from_request_parts(parts, app).await;
        let Path(text) = text.map_err(|_| Failure::bad_request("the path holds no id"))?;
        text.parse().map(Self).map_err(invalid)
    }
}

/// The two ids in the path.
pub(in crate::api) struct TwoParts<A, B>(pub(in crate::api) A, pub(in crate::api) B);

impl<A, B> FromRequestParts<App> for TwoParts<A, B>
where
    A: FromStr<Err = InvalidId>,
    B: FromStr<Err = InvalidId>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let texts = Path::<(String, String)>::from_request_parts(parts, app).await;
        let Path((a, b)) = texts.map_err(|_| Failure::bad_request("the path holds no two ids"))?;
        Ok(Self(a.parse().map_err(invalid)?, b.parse().map_err(invalid)?))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn invalid(error: InvalidId) -> Failure {
    Failure::bad_request(format!("validation error: {error}"))
}

/// The sandbox in the path.
pub(in crate::api) struct Id(pub(in crate::api) SandboxId);

impl FromRequestParts<App> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let invalid = || Failure::bad_request("Invalid sandbox ID");
        let Path(text) = Path::<String>::from_request_parts(parts, app).await.map_err(|_| invalid())?;
        // One suffix was a client's id; more were never anybody's.
        if text.bytes().filter(|byte| *byte == b'-').count() > 1 {
            return Err(invalid());
        }
        text.parse().map(Self).map_err(|_| invalid())
    }
}

/// The key of a request that must take effect at most once.
pub(in crate::api) struct IdempotencyKey(pub(in crate::api) Option<String>);

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
pub(in crate::api) struct Fields<T>(pub(in crate::api) T);

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
pub(in crate::api) struct Body<T>(pub(in crate::api) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let what = what(&request);
        parse(&read(request, app).await?, what).map(Self)
    }
}

/// A JSON body that may be left out.
pub(in crate::api) struct MaybeBody<T>(pub(in crate::api) T);

impl<T: DeserializeOwned + Default> FromRequest<App> for MaybeBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let what = what(&request);
        let bytes = read(request, app).await?;
        let text = bytes.trim_ascii();
        if text.is_empty() || text == b"null" { Ok(Self(T::default())) } else { parse(text, what).map(Self) }
    }
}

/// How a body that cannot be read is told: templates have words of their own.
fn what(request: &Request) -> &'static str {
    let mut parts = request.uri().path().split('/').skip(1);
    let is_version = |part: &&str| matches!(*part, "v2" | "v3");
    match parts.find(|part| !is_version(part)) {
        Some("templates") => "Invalid request body",
        _ => "Error when parsing request",
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

/// Every body here is an object. (A list would do for serde where its elements
/// fit the fields in their order.)
fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Failure> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Failure::bad_request(format!("{what}: expected an object, not a list")));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut json)
        .map_err(|e| Failure::bad_request(format!("{what}: {}", named(&e))))?;
    json.end().map_err(|e| Failure::bad_request(format!("{what}: {e}")))?;
    Ok(body)
}

/// The error, after the field that it is about; one that is missing is in the error's own words.
fn named(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let (path, inner) = (error.path().to_string(), error.inner());
    if inner.is_data() && path != "." { format!("{path}: {inner}") } else { inner.to_string() }
}

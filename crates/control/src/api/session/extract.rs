//! Reading requests: the common readers, refusing in this API's shape.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use http::request::Parts;
use model::SessionId;
use serde::de::DeserializeOwned;
use wire::query::escape;

use super::error::Failure;
use crate::App;
use crate::api::address::Address;
use crate::api::extract::{Body, Fields, MaybeBody};
use crate::app;

/// For whom a call acts.
pub(super) struct Caller(pub(super) app::Caller);

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        Ok(Self(app::Caller::from_request_parts(parts, app).await?))
    }
}

/// The session in the path.
pub(super) struct Id(pub(super) SessionId);

impl FromRequestParts<App> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let text = Path::<String>::from_request_parts(parts, app).await;
        let Path(text) = text.map_err(|_| Failure::bad_request("session_id is not UTF-8"))?;
        text.parse().map(Self).map_err(|e: model::BadSessionId| Failure::bad_request(e.to_string()))
    }
}

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        Ok(Self(Body::from_request(request, app).await?.0))
    }
}

/// A JSON body that may be left out.
pub(super) struct MaybeJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequest<App> for MaybeJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        Ok(Self(MaybeBody::from_request(request, app).await?.0))
    }
}

/// The query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        Ok(Self(Fields::from_request_parts(parts, app).await?.0))
    }
}

/// Where the client sees this server: as configured, else as it was asked.
pub(super) struct Origin(String);

impl FromRequestParts<App> for Origin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        if let Some(url) = &app.options().session.public_url {
            return Ok(Self(url.trim_end_matches('/').to_owned()));
        }
        Ok(Self(Address::of(parts).map_or_else(|| "http://localhost".to_owned(), |address| address.0)))
    }
}

impl Origin {
    /// Where a session's file is downloaded.
    pub(super) fn download(&self, session: &SessionId, path: &str) -> String {
        let session = escape(session.as_str());
        let path = path.split('/').map(escape).collect::<Vec<_>>().join("/");
        format!("{}{}/{session}/sandbox/download?path={path}", self.0, super::BASE)
    }
}

//! Calls of the control plane.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::{Http, answer_error, escape, read_all};
use crate::{Config, Error, ErrorKind};

/// Reaches the control plane. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) http: Http,
    pub(crate) config: Config,
}

impl Api {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self { http: Http::new(config)?, config: config.clone() })
    }

    /// Sends JSON and reads JSON.
    pub(crate) async fn post<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<A, Error> {
        parse(&self.send(Method::POST, path, Some(json(body)?)).await?)
    }

    /// Sends JSON; the answer has no body.
    pub(crate) async fn post_empty<Q: Serialize + Sync>(&self, path: &str, body: &Q) -> Result<(), Error> {
        self.send(Method::POST, path, Some(json(body)?)).await.map(drop)
    }

    /// Reads JSON.
    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Error> {
        parse(&self.send(Method::GET, path, None).await?)
    }

    /// Reads a list page by page.
    pub(crate) async fn get_pages<A: DeserializeOwned>(&self, path: &str) -> Result<Vec<A>, Error> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = token.as_ref().map_or_else(|| path.to_owned(), |t| format!("{path}?nextToken={t}"));
            let (next, bytes) = self.page(&page).await?;
            all.extend(parse::<Vec<A>>(&bytes)?);
            match next {
                // A server that repeats its token would keep us here for ever.
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                _ => return Ok(all),
            }
        }
    }

    async fn page(&self, path: &str) -> Result<(Option<String>, Bytes), Error> {
        let url = format!("{}{path}", self.config.api_url);
        let response = self.http.send(Method::GET, &url, self.headers()?, Bytes::new()).await?;
        let status = response.status().as_u16();
        let next = response.headers().get("x-next-token").and_then(|v| v.to_str().ok());
        let next = next.filter(|token| !token.is_empty()).map(escape);
        let bytes = read_all(response.into_body()).await?;
        if status >= 300 { Err(answer_error(status, &bytes)) } else { Ok((next, bytes)) }
    }

    /// Removes something; `false` if it was not there.
    pub(crate) async fn delete(&self, path: &str) -> Result<bool, Error> {
        match self.send(Method::DELETE, path, None).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, Error> {
        let url = format!("{}{path}", self.config.api_url);
        let mut headers = self.headers()?;
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.http.call(method, &url, headers, body.unwrap_or_default()).await
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_str(&self.config.api_key)
            .map_err(|e| Error::caused(ErrorKind::Authentication, "the API key is no header value", e))?;
        key.set_sensitive(true);
        headers.insert("x-api-key", key);
        Ok(headers)
    }
}

fn json<T: Serialize>(body: &T) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(body)
        .map_err(|e| Error::caused(ErrorKind::InvalidArgument, "the request is no JSON", e))?;
    Ok(Bytes::from(bytes))
}

fn parse<A: DeserializeOwned>(bytes: &[u8]) -> Result<A, Error> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::caused(ErrorKind::Sandbox, "the server sent an answer of another form", e))
}

//! Calls of the control plane, repeated where that is safe.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::http::{answer_error, read_all};
use crate::{Config, Error, ErrorKind, retry};

/// How the library names itself.
pub(crate) const AGENT: &str = concat!("warren-sdk/", env!("CARGO_PKG_VERSION"));

/// Reaches the control plane. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) config: Config,
}

/// An answer whose status is below 300.
#[derive(Debug)]
pub(crate) struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Reads the body.
    pub(crate) fn json<A: DeserializeOwned>(&self) -> Result<A, Error> {
        parse(&self.body)
    }

    /// Where the next page starts, if there is one.
    pub(crate) fn next_token(&self) -> Option<String> {
        let token = self.headers.get("x-next-token")?.to_str().ok()?;
        (!token.is_empty()).then(|| token.to_owned())
    }
}

impl Api {
    pub(crate) fn new(config: &Config) -> Self {
        Self { config: config.clone() }
    }

    /// Sends JSON and reads JSON.
    pub(crate) async fn post<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<A, Error> {
        self.send(Method::POST, path, Some(json(body)?), HeaderMap::new()).await?.json()
    }

    /// Sends JSON; the answer has no body, or none of interest.
    pub(crate) async fn send_json<Q: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: &Q,
    ) -> Result<(), Error> {
        self.send(method, path, Some(json(body)?), HeaderMap::new()).await.map(drop)
    }

    /// Reads JSON.
    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Error> {
        self.page(path).await?.json()
    }

    /// Reads one page of a list.
    pub(crate) async fn page(&self, path: &str) -> Result<Answer, Error> {
        self.send(Method::GET, path, None, HeaderMap::new()).await
    }

    /// Removes something; `false` if it was not there.
    pub(crate) async fn delete(&self, path: &str) -> Result<bool, Error> {
        match self.send(Method::DELETE, path, None, HeaderMap::new()).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Sends a request with further headers, and again while the server says
    /// that it may help and the request's time allows the wait.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        extra: HeaderMap,
    ) -> Result<Answer, Error> {
        let config = &self.config;
        let url = format!("{}{path}", config.api_url);
        let mut headers = self.headers()?;
        headers.extend(extra);
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = body.unwrap_or_default();
        let deadline = Instant::now() + config.request_timeout;
        for attempt in 0.. {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = config.http.send(method.clone(), &url, headers.clone(), body.clone(), left);
            let response = request.await?;
            let (status, answered) = (response.status().as_u16(), response.headers().clone());
            if attempt < config.retries
                && let Some(wait) = retry::wait(status, &answered, attempt, retry::random())
                && Instant::now() + wait < deadline
            {
                tracing::debug!(status, attempt, ?wait, path, "the server asks to try again");
                tokio::time::sleep(wait).await;
                continue;
            }
            let read = tokio::time::timeout_at(deadline, read_all(response.into_body()));
            let late = |_| Error::new(ErrorKind::Timeout, format!("the answer of {url} stalled"));
            let bytes = read.await.map_err(late)??;
            return if status >= 300 {
                Err(answer_error(status, &bytes))
            } else {
                Ok(Answer { headers: answered, body: bytes })
            };
        }
        unreachable!("the loop ends by returning")
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = extra_headers(&self.config.api_headers)?;
        let mut key = HeaderValue::from_str(&self.config.api_key)
            .map_err(|e| Error::caused(ErrorKind::Authentication, "the API key is no header value", e))?;
        key.set_sensitive(true);
        headers.insert("x-api-key", key);
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        Ok(headers)
    }
}

/// Headers that the user's settings add.
pub(crate) fn extra_headers(pairs: &std::collections::BTreeMap<String, String>) -> Result<HeaderMap, Error> {
    let wrong = |name: &str| Error::invalid(format!("{name:?} or its value is no header"));
    pairs
        .iter()
        .map(|(name, value)| {
            let header = name.parse::<HeaderName>().map_err(|_| wrong(name))?;
            Ok((header, HeaderValue::from_str(value).map_err(|_| wrong(name))?))
        })
        .collect()
}

/// A request's body.
pub(crate) fn json<T: Serialize>(body: &T) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(body)
        .map_err(|e| Error::caused(ErrorKind::InvalidArgument, "the request is no JSON", e))?;
    Ok(Bytes::from(bytes))
}

/// An answer's body.
pub(crate) fn parse<A: DeserializeOwned>(bytes: &[u8]) -> Result<A, Error> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::caused(ErrorKind::Sandbox, "the server sent an answer of another form", e))
}

/// An id as a path segment: anything that needs escaping is no id.
pub(crate) fn segment(id: &str) -> Result<&str, Error> {
    let plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain { Ok(id) } else { Err(Error::invalid(format!("{id:?} is no id"))) }
}

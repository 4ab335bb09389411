//! The pool of HTTP connections, plain and TLS, and the reading of answers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt as _};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::{Error, ErrorKind};

/// Longest answer of a call that is read as a whole.
pub(crate) const MAX_ANSWER: usize = 64 << 20;

type Body = UnsyncBoxBody<Bytes, BoxError>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a pool of connections behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolSettings {
    /// How often a connection that could not be made is tried again.
    pub(crate) connection_retries: u32,
    /// How long an idle connection is kept.
    pub(crate) idle: Duration,
    /// Idle connections kept per host.
    pub(crate) max_idle: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        // Below every server's own idle limit, so that no request meets a socket that just closed.
        Self { connection_retries: 3, idle: Duration::from_mins(5), max_idle: 20 }
    }
}

/// What a request carries.
pub(crate) enum Payload {
    /// In memory: a connection that could not be made is tried again.
    Whole(Bytes),
    /// As it comes.
    Stream(Body),
}

impl Payload {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self::Whole(Bytes::new())
    }

    /// The pieces of a stream, one after the other.
    pub(crate) fn stream<E: Into<BoxError> + 'static>(
        pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Self {
        let frames = pieces.map_ok(Frame::data).map_err(Into::into);
        Self::Stream(StreamBody::new(frames).boxed_unsync())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

/// A pool of connections. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pools: Arc<Pools>,
}

/// Reading the system's authorities takes tens of milliseconds, so TLS is set up
/// only where a URL asks for it.
#[derive(Debug)]
struct Pools {
    settings: PoolSettings,
    plain: Client<HttpConnector, Body>,
    tls: OnceLock<Client<HttpsConnector<HttpConnector>, Body>>,
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp
}

impl Pools {
    fn builder(&self) -> hyper_util::client::legacy::Builder {
        builder(self.settings)
    }

    fn tls(&self) -> Result<&Client<HttpsConnector<HttpConnector>, Body>, Error> {
        if let Some(client) = self.tls.get() {
            return Ok(client);
        }
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|e| {
                Error::caused(ErrorKind::Sandbox, "reading the system's certificate authorities", e)
            })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp());
        Ok(self.tls.get_or_init(|| self.builder().build(connector)))
    }
}

fn builder(settings: PoolSettings) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle)
        .pool_max_idle_per_host(settings.max_idle);
    builder
}

impl Http {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        let plain = builder(settings).build(tcp());
        Self { pools: Arc::new(Pools { settings, plain, tls: OnceLock::new() }) }
    }

    /// Sends a request; the answer's body is still to be read. `timeout` bounds
    /// it up to the answer's head.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        payload: impl Into<Payload>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let answer = self.connected(method, url, headers, payload.into());
        let late = |_| Error::new(ErrorKind::Timeout, format!("no answer from {url} within {timeout:?}"));
        tokio::time::timeout(timeout, answer).await.map_err(late)?
    }

    /// Tries again while no connection can be made: nothing was sent then.
    async fn connected(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        payload: Payload,
    ) -> Result<Response<Incoming>, Error> {
        let (whole, mut stream) = match payload {
            Payload::Whole(bytes) => (bytes, None),
            Payload::Stream(body) => (Bytes::new(), Some(body)),
        };
        let mut retries = if stream.is_some() { 0 } else { self.pools.settings.connection_retries };
        for attempt in 0.. {
            let body = stream
                .take()
                .unwrap_or_else(|| Full::new(whole.clone()).map_err(|never| match never {}).boxed_unsync());
            match self.once(method.clone(), url, headers.clone(), body).await? {
                Ok(response) => return Ok(response),
                Err(e) if e.is_connect() && retries > 0 => {
                    retries -= 1;
                    tokio::time::sleep(crate::retry::backoff(attempt, crate::retry::random())).await;
                }
                Err(e) => {
                    let advice = if meets_no_tls(&e) {
                        "it speaks HTTP without TLS: the address begins with http://, not https://"
                    } else {
                        "is the server running, and the address right?"
                    };
                    let message = format!("no answer from {url}: {advice}");
                    return Err(Error::caused(ErrorKind::SandboxUnreachable, message, e));
                }
            }
        }
        unreachable!("the loop ends by returning")
    }

    async fn once(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Result<Response<Incoming>, hyper_util::client::legacy::Error>, Error> {
        let mut request = Request::builder().method(method).uri(url).body(body).map_err(|e| {
            Error::caused(
                ErrorKind::InvalidArgument,
                format!("the URL {url} is not valid: does it begin with http:// or https://?"),
                e,
            )
        })?;
        *request.headers_mut() = headers;
        Ok(if url.starts_with("http://") {
            self.pools.plain.request(request).await
        } else {
            self.pools.tls()?.request(request).await
        })
    }

    /// Sends a request and reads the whole answer, at most [`MAX_ANSWER`] bytes.
    /// A status of 300 and more is an error with the body's message.
    pub(crate) async fn call(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        payload: impl Into<Payload>,
        timeout: Duration,
    ) -> Result<Bytes, Error> {
        let response = self.send(method, url, headers, payload, timeout).await?;
        let status = response.status().as_u16();
        let read = tokio::time::timeout(timeout, read_all(response.into_body()));
        let late = |_| Error::new(ErrorKind::Timeout, format!("the answer of {url} stalled"));
        let bytes = read.await.map_err(late)??;
        if status >= 300 { Err(answer_error(status, &bytes)) } else { Ok(bytes) }
    }
}

/// Whether a TLS handshake was answered in plain text.
fn meets_no_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::{Error as Tls, InvalidMessage};
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(Tls::InvalidMessage(InvalidMessage::InvalidContentType))) {
            return true;
        }
        // An error of the system gives what it wraps as no source.
        let wrapped = error.downcast_ref().and_then(std::io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as _).or_else(|| error.source());
    }
    false
}

/// Reads a body whole, at most [`MAX_ANSWER`] bytes.
pub(crate) async fn read_all(mut body: Incoming) -> Result<Bytes, Error> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Error::caused(ErrorKind::SandboxUnreachable, "reading the answer", e))?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > MAX_ANSWER {
                return Err(Error::new(
                    ErrorKind::Sandbox,
                    "the answer is larger than 64 MiB: read it as a stream",
                ));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// The pieces of a body as they come; an `idle` time without any ends it.
pub(crate) fn pieces(body: Incoming, idle: Duration) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    futures_util::stream::try_unfold(body, move |mut body| async move {
        loop {
            let frame = tokio::time::timeout(idle, body.frame()).await.map_err(|_| {
                Error::new(ErrorKind::Timeout, format!("no byte of the answer came for {idle:?}"))
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame =
                frame.map_err(|e| Error::caused(ErrorKind::SandboxUnreachable, "reading the answer", e))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some((data, body)));
            }
        }
    })
}

/// The error that an answer with a failing status means: the `message` of its
/// JSON body, else the text of the body.
pub(crate) fn answer_error(status: u16, body: &[u8]) -> Error {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
        error_code: Option<String>,
    }
    match serde_json::from_slice::<Message>(body) {
        Ok(said) => Error::from_status(status, &said.message, said.error_code),
        Err(_) => Error::from_status(status, &String::from_utf8_lossy(&body[..body.len().min(500)]), None),
    }
}

/// Escapes a query value or a path segment.
pub(crate) fn escape(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Pairs as a query, with its question mark; empty without pairs.
pub(crate) fn query(pairs: &[(&str, Option<String>)]) -> String {
    let given = pairs.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let parts: Vec<String> = given.map(|(name, value)| format!("{name}={}", escape(value))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

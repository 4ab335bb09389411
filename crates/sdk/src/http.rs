//! One pooled HTTP client, plain or TLS, and the reading of answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::{Config, Error, ErrorKind};

/// Longest answer of a call that is read as a whole.
pub(crate) const MAX_ANSWER: usize = 64 << 20;

/// A connection pool. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Pool,
    request_timeout: Duration,
}

/// Reading the system's authorities takes tens of milliseconds, so TLS is set up
/// only where a URL asks for it.
#[derive(Debug, Clone)]
enum Pool {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Http {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            // Below every server's own idle limit, so that no request meets a socket that just closed.
            .pool_idle_timeout(Duration::from_mins(5));
        let client = if config.needs_tls() {
            let tls = HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(|e| {
                    Error::caused(ErrorKind::Sandbox, "reading the system's certificate authorities", e)
                })?
                .https_or_http()
                .enable_http1()
                .wrap_connector(tcp);
            Pool::Tls(builder.build(tls))
        } else {
            Pool::Plain(builder.build(tcp))
        };
        Ok(Self { client, request_timeout: config.request_timeout })
    }

    /// Sends a request; the answer's body is still to be read. Bounded by the
    /// request timeout up to the answer's head.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(method).uri(url).body(Full::new(body)).map_err(|e| {
            Error::caused(ErrorKind::InvalidArgument, format!("the URL {url} is not valid"), e)
        })?;
        *request.headers_mut() = headers;
        let answer = match &self.client {
            Pool::Plain(client) => client.request(request),
            Pool::Tls(client) => client.request(request),
        };
        match tokio::time::timeout(self.request_timeout, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(e)) => {
                Err(Error::caused(ErrorKind::SandboxUnreachable, format!("connecting to {url}"), e))
            }
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("no answer from {url} within {:?}", self.request_timeout),
            )),
        }
    }

    /// Sends a request and reads the whole answer, at most [`MAX_ANSWER`] bytes.
    /// A status of 300 and more is an error with the body's message.
    pub(crate) async fn call(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        let response = self.send(method, url, headers, body).await?;
        let status = response.status().as_u16();
        let read = tokio::time::timeout(self.request_timeout, read_all(response.into_body()));
        let bytes = read
            .await
            .map_err(|_| Error::new(ErrorKind::Timeout, format!("the answer of {url} stalled")))??;
        if status >= 300 { Err(answer_error(status, &bytes)) } else { Ok(bytes) }
    }
}

/// Reads a body whole, at most [`MAX_ANSWER`] bytes.
pub(crate) async fn read_all(mut body: Incoming) -> Result<Bytes, Error> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Error::caused(ErrorKind::SandboxUnreachable, "reading the answer", e))?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > MAX_ANSWER {
                return Err(Error::new(ErrorKind::Sandbox, "the answer is larger than 64 MiB"));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// The error that an answer with a failing status means: the `message` of its
/// JSON body, else the text of the body.
pub(crate) fn answer_error(status: u16, body: &[u8]) -> Error {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    let message = serde_json::from_slice::<Message>(body)
        .map_or_else(|_| String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned(), |m| m.message);
    Error::from_status(status, &message)
}

/// Escapes a query value.
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

//! Calls of the daemon's services inside a sandbox: Connect protocol, JSON codec.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wire::connect::envelope::{self, Decoder, FLAG_END};
use wire::connect::{Codec, EndStream, Message};
use wire::control::ENVD_PORT;

use crate::http::{Http, answer_error, read_all};
use crate::{Config, Error, ErrorKind};

/// Longest single message of a stream.
const MAX_MESSAGE: usize = 16 << 20;
/// How often a quiet stream shows that it is alive, in seconds.
const KEEPALIVE_SECONDS: &str = "50";

/// Reaches one sandbox. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) http: Http,
    pub(crate) config: Config,
    pub(crate) sandbox_id: String,
    pub(crate) domain: Option<String>,
    pub(crate) access_token: Option<String>,
}

impl Target {
    /// Base URL of a port.
    pub(crate) fn url(&self, port: u16) -> String {
        self.config.port_url(&self.sandbox_id, self.domain.as_deref(), port)
    }

    /// Headers that route a request to a port and show the sandbox's token.
    pub(crate) fn headers(&self, port: u16) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(id) = HeaderValue::from_str(&self.sandbox_id) {
            headers.insert("e2b-sandbox-id", id);
        }
        headers.insert("e2b-sandbox-port", HeaderValue::from(port));
        if let Some(Ok(mut token)) = self.access_token.as_deref().map(HeaderValue::from_str) {
            token.set_sensitive(true);
            headers.insert("x-access-token", token);
        }
        headers
    }

    fn rpc_headers(&self, content_type: &'static str, user: Option<&str>) -> HeaderMap {
        let mut headers = self.headers(ENVD_PORT);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert("connect-protocol-version", HeaderValue::from_static("1"));
        if let Some(Ok(basic)) = user.map(|user| HeaderValue::from_str(&basic_auth(user))) {
            headers.insert(AUTHORIZATION, basic);
        }
        headers
    }

    /// A unary call; `method` is the whole path.
    pub(crate) async fn unary<Q: Message, A: Message>(
        &self,
        method: &str,
        request: &Q,
        user: Option<&str>,
    ) -> Result<A, Error> {
        let headers = self.rpc_headers(Codec::Json.unary_content_type(), user);
        let url = format!("{}{method}", self.url(ENVD_PORT));
        let body = Bytes::from(request.encode(Codec::Json));
        let response = self.http.send(Method::POST, &url, headers, body).await?;
        let status = response.status();
        let bytes = read_all(response.into_body()).await?;
        if !status.is_success() {
            return Err(unary_error(status.as_u16(), &bytes));
        }
        A::decode(Codec::Json, &bytes)
            .map_err(|e| Error::caused(ErrorKind::Sandbox, "the sandbox sent a malformed answer", e))
    }

    /// A unary call for which "it exists" is an answer: `None`.
    pub(crate) async fn unary_or_exists<Q: Message, A: Message>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<Option<A>, Error> {
        match self.unary(method, request, None).await {
            Ok(answer) => Ok(Some(answer)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a stream of answers. With a deadline the daemon ends the call, and
    /// a process that it started, after that time.
    pub(crate) async fn stream<Q: Message>(
        &self,
        method: &str,
        request: &Q,
        user: Option<&str>,
        deadline: Option<Duration>,
    ) -> Result<MessageStream, Error> {
        let mut headers = self.rpc_headers(Codec::Json.stream_content_type(), user);
        headers.insert("keepalive-ping-interval", HeaderValue::from_static(KEEPALIVE_SECONDS));
        if let Some(deadline) = deadline {
            let millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).min(9_999_999_999);
            headers.insert("connect-timeout-ms", HeaderValue::from(millis));
        }
        let url = format!("{}{method}", self.url(ENVD_PORT));
        let body = envelope::encode(0, &request.encode(Codec::Json));
        let response = self.http.send(Method::POST, &url, headers, body).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(unary_error(status.as_u16(), &read_all(response.into_body()).await?));
        }
        Ok(MessageStream { body: response.into_body(), decoder: Decoder::new(MAX_MESSAGE), ended: false })
    }
}

/// Messages of a server stream. Dropping it ends the stream, not what it watched.
#[derive(Debug)]
pub(crate) struct MessageStream {
    body: Incoming,
    decoder: Decoder,
    ended: bool,
}

impl MessageStream {
    /// The next message; `None` after the end record of a stream that ended
    /// well. Cancel-safe: no byte is lost when the future is dropped.
    pub(crate) async fn next<A: Message>(&mut self) -> Result<Option<A>, Error> {
        while !self.ended {
            let framed = self.decoder.next_envelope();
            match framed.map_err(|e| Error::caused(ErrorKind::Sandbox, "the stream is malformed", e))? {
                Some(envelope) if envelope.flags & FLAG_END != 0 => return self.end(&envelope.payload),
                Some(envelope) => {
                    return A::decode(Codec::Json, &envelope.payload)
                        .map(Some)
                        .map_err(|e| Error::caused(ErrorKind::Sandbox, "the stream is malformed", e));
                }
                None => self.fill().await?,
            }
        }
        Ok(None)
    }

    fn end<A>(&mut self, payload: &[u8]) -> Result<Option<A>, Error> {
        self.ended = true;
        let end: EndStream = serde_json::from_slice(payload)
            .map_err(|e| Error::caused(ErrorKind::Sandbox, "the end of the stream is malformed", e))?;
        end.error.map_or(Ok(None), |error| Err(Error::from_connect(&error)))
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let lost =
            "the connection broke: the sandbox was killed or reached its end of life, or the server stopped";
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.decoder.push(&data);
                }
                Ok(())
            }
            Some(Err(e)) => Err(Error::caused(ErrorKind::SandboxNotRunning, lost, e)),
            None => Err(Error::new(ErrorKind::SandboxNotRunning, lost)),
        }
    }
}

/// A failed unary answer is a Connect error if its `code` is a word, else a
/// plain HTTP error of the proxy or the daemon.
fn unary_error(status: u16, body: &[u8]) -> Error {
    match serde_json::from_slice::<wire::connect::Error>(body) {
        Ok(error) => Error::from_connect(&error),
        Err(_) => answer_error(status, body),
    }
}

fn basic_auth(user: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:")))
}

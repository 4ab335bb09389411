//! Calls of the daemon's services inside a sandbox: Connect protocol, JSON codec.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;
use wire::connect::envelope::{self, Decoder, FLAG_END};
use wire::connect::{Codec, EndStream, Message};
use wire::control::ENVD_PORT;

use crate::api::{AGENT, extra_headers};
use crate::http::{Payload, answer_error, read_all};
use crate::{Config, Error, ErrorKind};

/// Longest single message of a stream.
const MAX_MESSAGE: usize = 16 << 20;
/// How often a quiet stream shows that it is alive, in seconds.
const KEEPALIVE_SECONDS: &str = "50";
/// What a probe after a lost connection may take.
const PROBE: Duration = Duration::from_secs(5);
/// What a lost connection to a sandbox that ended is told as.
const ENDED: &str = "the connection broke: the sandbox was killed or reached its end of life \
                     (create one with a longer timeout)";
/// The daemon ends a stream at its deadline; this much later we do.
const GRACE: Duration = Duration::from_millis(500);

/// Reaches one sandbox.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) sandbox_id: String,
    pub(crate) domain: Option<String>,
    pub(crate) access_token: Option<String>,
    pub(crate) traffic_token: Option<String>,
    /// The user's own headers, checked once.
    pub(crate) extra: HeaderMap,
}

impl Target {
    pub(crate) fn new(
        config: &Config,
        sandbox_id: String,
        domain: Option<String>,
        access_token: Option<String>,
        traffic_token: Option<String>,
    ) -> Result<Arc<Self>, Error> {
        let mut extra = extra_headers(&config.sandbox_headers)?;
        extra.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        Ok(Arc::new(Self { config: config.clone(), sandbox_id, domain, access_token, traffic_token, extra }))
    }

    /// Base URL of a port.
    pub(crate) fn url(&self, port: u16) -> String {
        self.config.port_url(&self.sandbox_id, self.domain.as_deref(), port)
    }

    /// Headers that route a request to a port and show the sandbox's tokens.
    pub(crate) fn headers(&self, port: u16) -> HeaderMap {
        let mut headers = self.extra.clone();
        if let Ok(id) = HeaderValue::from_str(&self.sandbox_id) {
            headers.insert("e2b-sandbox-id", id);
        }
        headers.insert("e2b-sandbox-port", HeaderValue::from(port));
        let mut secret = |name: &'static str, token: Option<&str>| {
            if let Some(Ok(mut token)) = token.map(HeaderValue::from_str) {
                token.set_sensitive(true);
                headers.insert(name, token);
            }
        };
        secret("x-access-token", self.access_token.as_deref());
        if port != ENVD_PORT {
            secret("e2b-traffic-access-token", self.traffic_token.as_deref());
        }
        headers
    }

    /// Sends a request to a port; bounded up to the answer's head.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        payload: impl Into<Payload>,
    ) -> Result<http::Response<Incoming>, Error> {
        let sent = self.config.http.send(method, url, headers, payload, self.config.request_timeout).await;
        match sent {
            // The way there broke: was it the sandbox that ended?
            Err(e) if e.kind() == ErrorKind::SandboxUnreachable => match self.health(PROBE).await {
                Ok(None) => Err(Error::caused(ErrorKind::SandboxNotRunning, ENDED, e)),
                _ => Err(e),
            },
            other => other,
        }
    }

    /// What the health check says: `None` if the proxy knows no such sandbox.
    pub(crate) async fn health(&self, timeout: Duration) -> Result<Option<()>, Error> {
        let url = format!("{}/health", self.url(ENVD_PORT));
        let headers = self.headers(ENVD_PORT);
        let response = self.config.http.send(Method::GET, &url, headers, Payload::none(), timeout).await?;
        match response.status().as_u16() {
            200..=299 => Ok(Some(())),
            502 => Ok(None),
            status => Err(Error::from_status(status, "unexpected answer of the health check", None)),
        }
    }

    /// The error that a lost connection means: a probe tells a sandbox that
    /// ended from one that did not answer.
    pub(crate) async fn lost(&self, cause: Option<hyper::Error>) -> Error {
        let (kind, text) = match self.health(PROBE).await {
            Ok(Some(())) => (
                ErrorKind::SandboxUnreachable,
                "the connection broke, but the sandbox runs: connect to the process again",
            ),
            Ok(None) => (ErrorKind::SandboxNotRunning, ENDED),
            Err(_) => (ErrorKind::SandboxUnreachable, "the connection broke, and the server does not answer"),
        };
        match cause {
            Some(cause) => Error::caused(kind, text, cause),
            None => Error::new(kind, text),
        }
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
        let response = self.send(Method::POST, &url, headers, body).await?;
        let status = response.status();
        let bytes = read_all(response.into_body()).await?;
        if !status.is_success() {
            return Err(unary_error(status.as_u16(), &bytes));
        }
        A::decode(Codec::Json, &bytes)
            .map_err(|e| Error::caused(ErrorKind::Sandbox, "the sandbox sent a malformed answer", e))
    }

    /// Opens a stream of answers. With a deadline the daemon ends the call, and
    /// a process that it started, after that time.
    pub(crate) async fn stream<Q: Message>(
        self: &Arc<Self>,
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
        let body = envelope::encode(0, &request.encode(Codec::Json));
        let mut stream = self.open(method, headers, body.into()).await?;
        stream.deadline = deadline.and_then(|deadline| Instant::now().checked_add(deadline + GRACE));
        Ok(stream)
    }

    /// Sends a stream of messages and waits for the answer after its end.
    pub(crate) async fn upload<Q: Message>(
        self: &Arc<Self>,
        method: &str,
        messages: impl Stream<Item = Q> + Send + 'static,
    ) -> Result<(), Error> {
        let headers = self.rpc_headers(Codec::Json.stream_content_type(), None);
        let envelopes =
            messages.map(|message| Ok::<_, Error>(envelope::encode(0, &message.encode(Codec::Json))));
        // The answer comes after the last message: its time is the caller's, not a request's.
        let url = format!("{}{method}", self.url(ENVD_PORT));
        let payload = Payload::stream(envelopes);
        let unbounded = Duration::from_hours(24 * 365);
        let response = self.config.http.send(Method::POST, &url, headers, payload, unbounded).await?;
        let mut stream = self.opened(response).await?;
        while stream.next::<wire::process::Empty>().await?.is_some() {}
        Ok(())
    }

    async fn open(
        self: &Arc<Self>,
        method: &str,
        headers: HeaderMap,
        payload: Payload,
    ) -> Result<MessageStream, Error> {
        let url = format!("{}{method}", self.url(ENVD_PORT));
        let response = self.send(Method::POST, &url, headers, payload).await?;
        self.opened(response).await
    }

    async fn opened(self: &Arc<Self>, response: http::Response<Incoming>) -> Result<MessageStream, Error> {
        let status = response.status();
        if !status.is_success() {
            return Err(unary_error(status.as_u16(), &read_all(response.into_body()).await?));
        }
        let decoder = Decoder::new(MAX_MESSAGE);
        let target = Arc::clone(self);
        Ok(MessageStream { target, body: response.into_body(), decoder, ended: false, deadline: None })
    }
}

/// Messages of a server stream. Dropping it ends the stream, not what it watched.
#[derive(Debug)]
pub(crate) struct MessageStream {
    target: Arc<Target>,
    body: Incoming,
    decoder: Decoder,
    ended: bool,
    deadline: Option<Instant>,
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
        let frame = match self.deadline {
            None => self.body.frame().await,
            Some(deadline) => tokio::time::timeout_at(deadline, self.body.frame()).await.map_err(|_| {
                Error::new(ErrorKind::Timeout, "the call's time is over (raise the timeout of the call)")
            })?,
        };
        match frame {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.decoder.push(&data);
                }
                Ok(())
            }
            Some(Err(e)) => Err(self.target.lost(Some(e)).await),
            None => Err(self.target.lost(None).await),
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

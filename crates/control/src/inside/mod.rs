//! Speaks with what runs in a sandbox, over the wire that its clients use: code
//! in the interpreter, programs and files by the daemon.
//!
//! The inside is hostile: every answer is bounded in size where it is read, and
//! whoever asks bounds the time. An exchange has a connection of its own and is
//! given up when its future, or what it answered, is dropped.

mod code;
mod files;
mod process;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::SandboxId;
use node::DialError;
use tokio::task::JoinSet;
use wire::connect::Code;
use wire::files::ACCESS_TOKEN_HEADER;

use crate::NodePort;
pub(crate) use code::Cell;

/// Longest answer that is read as a whole.
const ANSWER_LIMIT: usize = 64 << 20;

/// Waits before a port that refuses is tried again: a server that is about to
/// listen is worth a moment.
const BACK_OFF: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(500),
];

/// What was asked of the inside failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The sandbox does not run any more; nothing was done.
    #[error("the sandbox is gone")]
    Gone,
    /// Nothing listens there.
    #[error("nothing in the sandbox listens on port {0}")]
    Closed(u16),
    /// The sandbox's daemon refused.
    #[error("{message}")]
    Refused {
        /// Why, in HTTP's terms.
        status: StatusCode,
        /// Why, in words.
        message: String,
    },
    /// The exchange broke: most often the sandbox ended.
    #[error("the connection into the sandbox broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What came is not what it should be.
    #[error("the sandbox answered what cannot be read: {0}")]
    Malformed(String),
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Broken(error.into())
}

/// Refusals of the services, as statuses.
fn refusal(error: &wire::connect::Error) -> Error {
    let status = match error.code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::PermissionDenied => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Error::Refused { status, message: error.message.clone() }
}

/// The inside of one sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inside<'a> {
    pub(crate) node: &'a dyn NodePort,
    pub(crate) sandbox: &'a SandboxId,
    pub(crate) token: Option<&'a str>,
}

/// An answer that is still arriving.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    /// Moves the connection's bytes; ends with the answer.
    _mover: JoinSet<()>,
}

impl Inside<'_> {
    /// One exchange with a port.
    async fn ask(&self, port: u16, mut request: Request<Body>, user: Option<&str>) -> Result<Answer, Error> {
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("sandbox"));
        if let Some(Ok(mut token)) = self.token.map(HeaderValue::from_str) {
            token.set_sensitive(true);
            headers.insert(ACCESS_TOKEN_HEADER, token);
        }
        if let Some(Ok(basic)) = user.map(|user| HeaderValue::from_str(&basic(user))) {
            headers.insert(AUTHORIZATION, basic);
        }
        let stream = self.dial(port).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut mover = JoinSet::new();
        mover.spawn(async move {
            // How it ended is seen by whoever reads the answer.
            let _ = connection.await;
        });
        let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body, _mover: mover })
    }

    async fn dial(&self, port: u16) -> Result<Box<dyn node::Connection>, Error> {
        let mut waits = BACK_OFF.iter();
        loop {
            match self.node.dial(self.sandbox, port).await {
                Ok(stream) => return Ok(stream),
                Err(DialError::Gone) => return Err(Error::Gone),
                Err(DialError::Refused(port)) => match waits.next() {
                    Some(wait) => tokio::time::sleep(*wait).await,
                    None => return Err(Error::Closed(port)),
                },
                Err(error @ DialError::Io { .. }) => return Err(broken(error)),
            }
        }
    }
}

impl Answer {
    /// The next piece; `None` at the end.
    async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// All of it.
    async fn whole(mut self) -> Result<Bytes, Error> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece().await? {
            if all.len() + piece.len() > ANSWER_LIMIT {
                return Err(Error::Malformed(format!("more than {ANSWER_LIMIT} bytes")));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    /// What a failed exchange means: the `message` of a JSON body, else its text.
    async fn failure(self) -> Error {
        #[derive(serde::Deserialize)]
        struct Message {
            message: String,
        }
        let status = self.status;
        let bytes = match self.whole().await {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        if let Ok(error) = serde_json::from_slice::<wire::connect::Error>(&bytes) {
            return refusal(&error);
        }
        let text = || String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).into_owned();
        let message = serde_json::from_slice::<Message>(&bytes).map_or_else(|_| text(), |m| m.message);
        Error::Refused { status, message }
    }

    /// The pieces as they come. Dropping the stream gives the exchange up.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        stream::try_unfold(self, async |mut answer| Ok(answer.piece().await?.map(|piece| (piece, answer))))
    }
}

fn basic(user: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:")))
}

//! The shapes of a call: one message each way, or one message and a stream back.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};
use wire::connect::envelope::{Decoder, EnvelopeError, FLAG_END};
use wire::connect::{Code, Codec, Error, Message};

use super::compression::{Compression, STREAM_ENCODING};
use super::sink::Sink;
use super::{Caller, body};
use crate::http::{Body, Request, Response};

/// Every content type that some call takes.
const ACCEPTED: &str =
    "application/json, application/proto, application/connect+json, application/connect+proto";

/// Longest message that is read. Input of some megabytes arrives as one.
pub(super) const MAX_MESSAGE: usize = 32 << 20;

/// A unary call.
pub(super) async fn unary<Q: Message, A: Message>(
    caller: Caller,
    request: Request,
    act: impl AsyncFnOnce(Caller, Q) -> Result<A, Error>,
) -> Response {
    let Some(codec) = content_type(request.headers()).and_then(Codec::of_unary) else {
        return unsupported_media_type();
    };
    let work = async {
        caller.user()?;
        check_version(request.headers())?;
        let deadline = deadline(request.headers())?;
        let compression = Compression::named(request.headers(), &CONTENT_ENCODING)?;
        let (bytes, mut share) =
            body::whole(&caller.daemon, request.into_body(), compression.unpacked()).await?;
        let bytes = compression.unpack(bytes)?;
        body::keep(&mut share, bytes.len());
        let message = Q::decode(codec, &bytes).map_err(invalid)?;
        drop(bytes);
        match deadline {
            None => act(caller, message).await,
            Some(deadline) => timeout_at(deadline, act(caller, message)).await.map_err(|_| too_late())?,
        }
    };
    match work.await {
        Ok(answer) => {
            let mut response = Response::new(Body::from(answer.encode(codec)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(codec.unary_content_type()));
            response
        }
        Err(error) => failure(&error),
    }
}

/// A call with a stream as its answer. `act` runs on its own; it is to stop when
/// the sink says that the client has gone.
pub(super) async fn server_stream<Q: Message + 'static, A: Message + 'static>(
    caller: Caller,
    request: Request,
    act: impl AsyncFnOnce(Caller, Q, &mut Sink<A>, Terms) -> Result<(), Error> + 'static,
) -> Response {
    let Some(codec) = content_type(request.headers()).and_then(Codec::of_stream) else {
        return unsupported_media_type();
    };
    let (pieces, body) = Body::channel();
    let mut sink = Sink::new(codec, pieces);
    // Read before the response starts: hyper gives up on a request body that is
    // still unread when the response is under way.
    let asked = match Terms::read(request.headers()) {
        Ok(terms) => single_message(&caller, codec, request).await.map(|message| (terms, message)),
        Err(error) => Err(error),
    };
    spawn_local(async move {
        let result = async {
            caller.user()?;
            let (terms, message) = asked?;
            let work = act(caller, message, &mut sink, terms);
            match terms.deadline {
                None => work.await,
                Some(deadline) => timeout_at(deadline, work).await.unwrap_or_else(|_| Err(too_late())),
            }
        };
        let result = result.await;
        sink.finish(result).await;
    });
    stream_response(codec, body)
}

/// What a stream's caller asked for in headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// When the stream ends.
    pub(super) deadline: Option<Instant>,
    /// After this long without an event a keepalive is sent.
    pub(super) keepalive: Duration,
}

impl Terms {
    fn read(headers: &HeaderMap) -> Result<Self, Error> {
        const DEFAULT: Duration = Duration::from_secs(90);
        let asked = headers.get("keepalive-ping-interval").and_then(|value| value.to_str().ok());
        // At most a day, so that the clock's arithmetic cannot overflow.
        let seconds = asked.and_then(|text| text.parse::<u64>().ok()).filter(|n| (1..=86_400).contains(n));
        check_version(headers)?;
        Ok(Self { deadline: deadline(headers)?, keepalive: seconds.map_or(DEFAULT, Duration::from_secs) })
    }
}

/// The answer of a stream: always 200, the exact content type, never compressed.
pub(super) fn stream_response(codec: Codec, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(codec.stream_content_type()));
    response
}

/// A failed unary call. Errors are JSON in every codec.
pub(super) fn failure(error: &Error) -> Response {
    // Two plain fields always serialize.
    let mut response = Response::new(Body::from(serde_json::to_vec(error).unwrap_or_default()));
    *response.status_mut() =
        StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Connect's answer to a codec that is not offered.
pub(super) fn unsupported_media_type() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert("accept-post", HeaderValue::from_static(ACCEPTED));
    response
}

/// The request's content type.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

/// The deadline passed.
pub(super) fn too_late() -> Error {
    Error::new(Code::DeadlineExceeded, "context deadline exceeded")
}

/// A message beyond the limit.
pub(super) fn too_long() -> Error {
    let message = format!("message is larger than the limit of {MAX_MESSAGE} bytes");
    Error::new(Code::ResourceExhausted, message)
}

/// A message that cannot be read.
pub(super) fn invalid(error: impl std::fmt::Display) -> Error {
    Error::new(Code::InvalidArgument, error.to_string())
}

/// A stream that is none.
pub(super) fn bad_envelope(error: EnvelopeError) -> Error {
    let code = match error {
        EnvelopeError::TooLong { .. } => Code::ResourceExhausted,
        EnvelopeError::Truncated => Code::InvalidArgument,
    };
    Error::new(code, error.to_string())
}

/// A client may leave its version out, but not speak another one.
pub(super) fn check_version(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get("connect-protocol-version").map(HeaderValue::as_bytes) {
        None | Some(b"" | b"1") => Ok(()),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(invalid(format!("connect-protocol-version must be \"1\": got {other:?}")))
        }
    }
}

/// `Connect-Timeout-Ms`, from now; 0 is none.
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Error> {
    let Some(value) = headers.get("connect-timeout-ms") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::new(Code::InvalidArgument, format!("protocol error: invalid timeout {text:?}")));
    }
    let timeout_ms: u64 = text.parse().map_err(invalid)?;
    Ok((timeout_ms > 0).then(|| Instant::now() + Duration::from_millis(timeout_ms)))
}

/// The one message of a stream that has one.
async fn single_message<Q: Message>(caller: &Caller, codec: Codec, request: Request) -> Result<Q, Error> {
    let compression = Compression::named(request.headers(), &STREAM_ENCODING)?;
    let (bytes, _share) = body::whole(&caller.daemon, request.into_body(), compression.unpacked()).await?;
    let mut decoder = Decoder::new(MAX_MESSAGE);
    decoder.push(&bytes);
    let envelope = decoder.next_envelope().map_err(bad_envelope)?;
    let envelope = envelope.ok_or_else(|| invalid("stream without a message"))?;
    decoder.finish().map_err(|_| invalid("more than one message, or a part of one"))?;
    if envelope.flags & FLAG_END != 0 {
        return Err(invalid("end record in a request"));
    }
    Q::decode(codec, &compression.unpack_envelope(envelope)?).map_err(invalid)
}

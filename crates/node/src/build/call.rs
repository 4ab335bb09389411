//! Running a script in, and uploading a file to, a sandbox of a build: the same
//! wire that clients use, through the sandbox's own dialer.

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use runtime::Dial;
use wire::connect::envelope::{self, Decoder, FLAG_END};
use wire::connect::{Codec, EndStream, Message};
use wire::control::ENVD_PORT;
use wire::process::{DataEvent, EndEvent, ProcessConfig, ProcessEvent, StartRequest, StreamResponse};

use super::step::StepFailure;

/// One message of the stream.
const MESSAGE_LIMIT: usize = 4 << 20;
/// The answer to an upload.
const ANSWER_LIMIT: usize = 64 << 10;
/// Between two pieces of a stream; the daemon sends a keepalive every 90 s at the latest.
const SILENCE: Duration = Duration::from_mins(5);
/// One upload.
const UPLOAD: Duration = Duration::from_mins(10);

/// The body of a request.
pub(super) type Body = BoxBody<Bytes, std::io::Error>;

/// A body that is in memory.
pub(super) fn whole(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

/// A body that is read from a file as it is sent.
pub(super) fn of_file(file: tokio::fs::File) -> Body {
    let pieces = tokio_util::io::ReaderStream::with_capacity(file, 256 << 10);
    StreamBody::new(pieces.map_ok(hyper::body::Frame::data)).boxed()
}

/// A process to be run inside.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    pub(super) user: String,
    pub(super) args: Vec<String>,
    /// The user's home if absent.
    pub(super) cwd: Option<String>,
    /// What the sandbox's daemon demands.
    pub(super) token: Option<String>,
}

impl Process {
    /// A script that ends at its first failure.
    pub(super) fn script(user: &str, script: &str) -> Self {
        let args = ["-e", "-c", script].map(str::to_owned).to_vec();
        Self { user: user.to_owned(), args, cwd: Some("/".to_owned()), token: None }
    }

    /// A command in a login shell, as clients run them.
    pub(super) fn login(user: &str, command: &str, cwd: Option<&str>) -> Self {
        let args = ["-l", "-c", command].map(str::to_owned).to_vec();
        Self { user: user.to_owned(), args, cwd: cwd.map(str::to_owned), token: None }
    }
}

/// Which output a piece came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Stdout,
    Stderr,
}

fn failed(what: &'static str) -> impl FnOnce(String) -> StepFailure {
    move |text| StepFailure::Guest { what, text }
}

fn basic(user: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:")))
}

/// Sends a request on a connection of its own and lets `read` consume the
/// answer; the connection lives exactly as long as this future.
async fn exchange<T>(
    dial: &dyn Dial,
    request: Request<Body>,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, StepFailure>,
) -> Result<T, StepFailure> {
    let stream = dial.dial(ENVD_PORT).await.map_err(|e| failed("dialling the daemon")(e.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed("speaking with the daemon")(e.to_string()))?;
    let exchange = async {
        let sent = sender.send_request(request).await;
        read(sent.map_err(|e| failed("speaking with the daemon")(e.to_string()))?).await
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        result = exchange.as_mut() => return result,
        // Broken or done: what it had is handed over, the rest fails there.
        _ = connection => {}
    }
    exchange.await
}

/// Runs a process to its end; its output goes to `output` as it comes.
pub(super) async fn run(
    dial: &dyn Dial,
    process: &Process,
    output: impl FnMut(Channel, &[u8]),
) -> Result<EndEvent, StepFailure> {
    launch(dial, process, || {}, output).await
}

/// The same; tells when the process runs, from when on it does so also if this
/// future is dropped.
pub(super) async fn launch(
    dial: &dyn Dial,
    process: &Process,
    started: impl FnOnce(),
    output: impl FnMut(Channel, &[u8]),
) -> Result<EndEvent, StepFailure> {
    let config = ProcessConfig {
        cmd: "/bin/bash".to_owned(),
        args: process.args.clone(),
        cwd: process.cwd.clone(),
        ..ProcessConfig::default()
    };
    let start = StartRequest { process: Some(config), stdin: Some(false), ..StartRequest::default() };
    let body = envelope::encode(0, &start.encode(Codec::Json));
    let mut request = Request::post("/process.Process/Start");
    if let Some(token) = &process.token {
        request = request.header("x-access-token", token);
    }
    let request = request
        .header(HOST, "sandbox")
        .header(CONTENT_TYPE, Codec::Json.stream_content_type())
        .header("connect-protocol-version", "1")
        .header(AUTHORIZATION, basic(&process.user))
        .body(whole(body))
        .map_err(|e| failed("asking for a process")(e.to_string()))?;
    exchange(dial, request, async |response| follow(response, started, output).await).await
}

/// Reads the stream of a process to its end.
async fn follow(
    response: Response<Incoming>,
    started: impl FnOnce(),
    mut output: impl FnMut(Channel, &[u8]),
) -> Result<EndEvent, StepFailure> {
    let broken = || failed("following a process");
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let mut body = response.into_body();
    let mut decoder = Decoder::new(MESSAGE_LIMIT);
    let mut end = None;
    let mut started = Some(started);
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        let frame = frame.map_err(|_| broken()("it went silent".to_owned()))?;
        let Some(frame) = frame else {
            return end.ok_or_else(|| broken()("the stream ended before the process".to_owned()));
        };
        let frame = frame.map_err(|e| broken()(e.to_string()))?;
        decoder.push(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(envelope) = decoder.next_envelope().map_err(|e| broken()(e.to_string()))? {
            if envelope.flags & FLAG_END != 0 {
                let closing: EndStream =
                    serde_json::from_slice(&envelope.payload).map_err(|e| broken()(e.to_string()))?;
                return match (end, closing.error) {
                    (Some(end), _) => Ok(end),
                    (None, Some(error)) => Err(StepFailure::Refused(error)),
                    (None, None) => Err(broken()("no end was told".to_owned())),
                };
            }
            let message = StreamResponse::decode(Codec::Json, &envelope.payload);
            match message.map_err(|e| broken()(e.to_string()))?.event {
                ProcessEvent::Data(DataEvent::Stdout(data)) => output(Channel::Stdout, &data),
                ProcessEvent::Data(DataEvent::Stderr(data)) => output(Channel::Stderr, &data),
                ProcessEvent::End(event) => end = Some(event),
                ProcessEvent::Start(_) => started.take().into_iter().for_each(|tell| tell()),
                _ => {}
            }
        }
    }
}

/// What an answer that is no stream says.
async fn refusal(response: Response<Incoming>) -> StepFailure {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    match serde_json::from_slice(&body) {
        Ok(error) => StepFailure::Refused(error),
        Err(_) => failed("asking for a process")(format!("{status} {}", String::from_utf8_lossy(&body))),
    }
}

/// Writes a file as root, with its parents.
pub(super) async fn upload(dial: &dyn Dial, path: &str, content: Body) -> Result<(), StepFailure> {
    let request = Request::post(format!("/files?path={}&username=root", encoded(path)))
        .header(HOST, "sandbox")
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(content)
        .map_err(|e| failed("asking for an upload")(e.to_string()))?;
    let read = async |response: Response<Incoming>| {
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let answer = answer.map_err(|e| failed("reading the answer to an upload")(e.to_string()))?.to_bytes();
        match status {
            StatusCode::OK => Ok(()),
            _ => Err(failed("uploading")(format!("{path}: {status} {}", String::from_utf8_lossy(&answer)))),
        }
    };
    tokio::time::timeout(UPLOAD, exchange(dial, request, read))
        .await
        .unwrap_or_else(|_| Err(failed("uploading")(format!("{path}: it took too long"))))
}

/// Percent-encodes all but what a query value may hold as it is.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut query, byte| {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            write!(query, "%{byte:02X}").expect("a String takes all that is written");
        }
        query
    })
}

//! Programs by the daemon's process service.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http::header::CONTENT_TYPE;
use wire::connect::envelope::{self, Decoder, FLAG_END};
use wire::connect::{Codec, EndStream, Message as _};
use wire::control::ENVD_PORT;
use wire::process::{DataEvent, ProcessConfig, ProcessEvent, SERVICE, StartRequest, StreamResponse};

use super::code::keep;
use super::{Error, Inside, broken, refusal};

/// Longest message of the stream.
const MESSAGE_LIMIT: usize = 4 << 20;

/// What a program left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Finished {
    pub(crate) exit_code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Inside<'_> {
    /// Runs a program to its end; the daemon ends it after `limit`. Bytes that
    /// are no UTF-8 are replaced.
    pub(crate) async fn run_program(
        &self,
        user: &str,
        words: &[&str],
        limit: Duration,
    ) -> Result<Finished, Error> {
        let (cmd, args) = words.split_first().ok_or_else(|| Error::Malformed("no program".to_owned()))?;
        let process = ProcessConfig {
            cmd: (*cmd).to_owned(),
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            ..ProcessConfig::default()
        };
        let start = StartRequest { process: Some(process), stdin: Some(false), ..StartRequest::default() };
        let request = Request::post(format!("{SERVICE}Start"))
            .header(CONTENT_TYPE, Codec::Json.stream_content_type())
            .header("connect-protocol-version", "1")
            .header("connect-timeout-ms", limit.as_millis().to_string())
            .body(Body::from(envelope::encode(0, &start.encode(Codec::Json))))
            .map_err(|e| Error::Malformed(e.to_string()))?;
        let mut answer = self.ask(ENVD_PORT, request, Some(user)).await?;
        if !answer.status.is_success() {
            return Err(answer.failure().await);
        }
        let mut decoder = Decoder::new(MESSAGE_LIMIT);
        let (mut output, mut finished) = (Output::default(), None);
        while let Some(piece) = answer.piece().await? {
            decoder.push(&piece);
            while let Some(envelope) = decoder.next_envelope().map_err(|e| Error::Malformed(e.to_string()))? {
                if envelope.flags & FLAG_END != 0 {
                    let end: EndStream = serde_json::from_slice(&envelope.payload)
                        .map_err(|e| Error::Malformed(e.to_string()))?;
                    return match (end.error, finished) {
                        (Some(error), _) => Err(refusal(&error)),
                        (None, Some(exit_code)) => Ok(output.finish(exit_code)),
                        (None, None) => Err(Error::Malformed("a program without an end".to_owned())),
                    };
                }
                let message = StreamResponse::decode(Codec::Json, &envelope.payload);
                match message.map_err(|e| Error::Malformed(e.to_string()))?.event {
                    ProcessEvent::Data(DataEvent::Stdout(data) | DataEvent::Pty(data)) => {
                        keep_bytes(&mut output.stdout, &data);
                    }
                    ProcessEvent::Data(DataEvent::Stderr(data)) => keep_bytes(&mut output.stderr, &data),
                    ProcessEvent::End(end) => finished = Some(end.exit_code),
                    _ => {}
                }
            }
        }
        Err(broken("the program's stream ended before the program"))
    }
}

/// Output as it came; characters may be cut between pieces.
#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    fn finish(self, exit_code: i32) -> Finished {
        let mut finished = Finished { exit_code, ..Finished::default() };
        keep(&mut finished.stdout, &String::from_utf8_lossy(&self.stdout));
        keep(&mut finished.stderr, &String::from_utf8_lossy(&self.stderr));
        finished
    }
}

/// A little above what is shown, so that the text can say that there was more.
fn keep_bytes(whole: &mut Vec<u8>, more: &[u8]) {
    const BYTES_LIMIT: usize = 17 << 20;
    let room = BYTES_LIMIT.saturating_sub(whole.len());
    whole.extend_from_slice(&more[..more.len().min(room)]);
}

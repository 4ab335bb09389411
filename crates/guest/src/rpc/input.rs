//! `StreamInput`: the one call whose request is a stream.

use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;
use wire::connect::envelope::{Decoder, Envelope};
use wire::connect::{Code, Codec, Error, Message};
use wire::process::{Empty, StreamInputRequest};

use super::Caller;
use super::call::{
    MAX_MESSAGE, bad_envelope, content_type, invalid, stream_response, unsupported_media_type,
};
use super::process::{input_error, live};
use super::sink::{Sink, gone};
use crate::http::{Body, Request, Response};
use crate::process::Process;

/// After an error, this much of the rest of the request is read, and for this
/// long: a connection that is closed on unread bytes loses the answer.
const MAX_REST: usize = 4 << 20;
const REST_PATIENCE: Duration = Duration::from_secs(2);

/// Writes the stream to a process until the client ends it; does not close the
/// process's input.
pub(super) async fn stream_input(caller: Caller, request: Request) -> Response {
    let Some(codec) = content_type(request.headers()).and_then(Codec::of_stream) else {
        return unsupported_media_type();
    };
    let (pieces, body) = Body::channel();
    let sink = Sink::new(codec, pieces);
    let mut request = request.into_body();
    let result = write_all(&caller, codec, &mut request).await;
    if result.is_err() {
        let _ = timeout(REST_PATIENCE, read_rest(&mut request)).await;
    }
    // Both records fit the body's queue, so nothing waits for a reader here.
    let result = match result {
        Ok(()) => sink.send(&Empty {}).await,
        Err(error) => Err(error),
    };
    sink.finish(result).await;
    stream_response(codec, body)
}

async fn write_all(caller: &Caller, codec: Codec, request: &mut Incoming) -> Result<(), Error> {
    caller.user()?;
    let mut decoder = Decoder::new(MAX_MESSAGE);
    let mut target = None;
    while let Some(frame) = request.frame().await {
        let Ok(data) = frame.map_err(|_| gone())?.into_data() else { continue };
        decoder.push(&data);
        while let Some(envelope) = decoder.next_envelope().map_err(bad_envelope)? {
            take(caller, codec, &envelope, &mut target).await?;
        }
    }
    decoder.finish().map_err(bad_envelope)
}

async fn take(
    caller: &Caller,
    codec: Codec,
    envelope: &Envelope,
    target: &mut Option<Rc<Process>>,
) -> Result<(), Error> {
    match StreamInputRequest::decode(codec, &envelope.payload).map_err(invalid)? {
        StreamInputRequest::Start(start) => *target = Some(live(caller, &start.process)?),
        StreamInputRequest::Data(data) => {
            let process = target.as_ref().ok_or_else(|| {
                Error::new(Code::FailedPrecondition, "data before the start event of the stream")
            })?;
            process.input.write(&data.input).await.map_err(|error| input_error(&error))?;
        }
        StreamInputRequest::Keepalive(_) | StreamInputRequest::Unset => {}
    }
    Ok(())
}

async fn read_rest(request: &mut Incoming) {
    let mut n_bytes = 0;
    while n_bytes < MAX_REST
        && let Some(Ok(frame)) = request.frame().await
    {
        n_bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}

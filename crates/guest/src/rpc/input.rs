//! `StreamInput`: the one call whose request is a stream.

use std::rc::Rc;

use http::HeaderMap;
use http_body_util::BodyExt;
use tokio::task::spawn_local;
use wire::connect::envelope::Decoder;
use wire::connect::{Code, Codec, Error, Message};
use wire::process::{Empty, StreamInputRequest};

use super::call::{
    MAX_MESSAGE, bad_envelope, check_version, content_type, invalid, stream_response, unsupported_media_type,
};
use super::compression::{Compression, STREAM_ENCODING};
use super::process::{input_error, live};
use super::sink::{Sink, gone};
use super::{Caller, body};
use crate::bounds::Share;
use crate::http::{Body, Request, RequestBody, Response};
use crate::process::Process;

/// Writes the stream to a process until the client ends it; does not close the
/// process's input.
pub(super) async fn stream_input(caller: Caller, request: Request) -> Response {
    let Some(codec) = content_type(request.headers()).and_then(Codec::of_stream) else {
        return unsupported_media_type();
    };
    let (pieces, body) = Body::channel();
    let open = pieces.clone();
    let sink = Sink::new(codec, pieces);
    let (head, mut incoming) = request.into_parts();
    let result = write_all(&caller, codec, &head.headers, &mut incoming).await;
    // Both records fit the body's queue, so nothing waits for a reader here.
    let result = match result {
        Ok(()) => sink.send(&Empty {}).await,
        Err(error) => {
            // Who types into a process that is gone hears of it at once. The answer stays open
            // until the client ends its side: one closed on unread bytes would be lost.
            spawn_local(async move {
                incoming.discard().await;
                drop(open);
            });
            Err(error)
        }
    };
    sink.finish(result).await;
    stream_response(codec, body)
}

async fn write_all(
    caller: &Caller,
    codec: Codec,
    headers: &HeaderMap,
    incoming: &mut RequestBody,
) -> Result<(), Error> {
    caller.user()?;
    check_version(headers)?;
    let compression = Compression::named(headers, &STREAM_ENCODING)?;
    let mut decoder = Decoder::new(MAX_MESSAGE);
    let mut target = None;
    let mut share = Share::none();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|_| gone())?.into_data() else { continue };
        decoder.push(&data);
        // A packed message is large from its first byte on.
        let expected = decoder.buffered().max(compression.unpacked());
        if share.is_none() && expected > body::SMALL {
            share = body::room(&caller.daemon, MAX_MESSAGE).await?;
        }
        while let Some(envelope) = decoder.next_envelope().map_err(bad_envelope)? {
            let message = compression.unpack_envelope(envelope)?;
            take(caller, codec, &message, &mut target).await?;
        }
        if decoder.buffered() <= body::SMALL {
            share = Share::none();
        }
    }
    decoder.finish().map_err(bad_envelope)
}

async fn take(
    caller: &Caller,
    codec: Codec,
    message: &[u8],
    target: &mut Option<Rc<Process>>,
) -> Result<(), Error> {
    match StreamInputRequest::decode(codec, message).map_err(invalid)? {
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

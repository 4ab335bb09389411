//! The bytes of a call's messages, and the room that they need while the call
//! lasts. Small ones need none: the bound of the connections covers them.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{timeout, timeout_at};
use wire::connect::{Code, Error};

use super::call::{MAX_MESSAGE, too_late, too_long};
use crate::bounds::Share;
use crate::daemon::Daemon;
use crate::http::RequestBody;

/// Messages up to this long are read wherever there is a connection for them.
pub(super) const SMALL: usize = 16 << 10;

/// Waits for room for a message of at most `bytes`.
pub(super) async fn room(daemon: &Daemon, bytes: usize) -> Result<Share, Error> {
    if bytes <= SMALL {
        return Ok(Share::none());
    }
    let share = timeout(daemon.options.bounds.message_patience, daemon.messages.take(bytes)).await;
    share.map_err(|_| {
        let all = daemon.options.bounds.message_bytes;
        let message =
            format!("messages of {all} bytes in all are being answered: send fewer large ones at once");
        Error::new(Code::ResourceExhausted, message)
    })
}

/// Reads the body of a call with one message. `unpacked` is what it may become.
pub(super) async fn whole(
    daemon: &Daemon,
    body: RequestBody,
    unpacked: usize,
) -> Result<(Bytes, Share), Error> {
    let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > MAX_MESSAGE) {
        return Err(too_long());
    }
    let mut share = room(daemon, announced.unwrap_or_default().max(unpacked)).await?;
    let deadline = tokio::time::Instant::now() + daemon.options.bounds.message_patience;
    let mut body = body;
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or_default().min(SMALL));
    while let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(|_| too_late())? {
        let frame = frame.map_err(|error| {
            Error::new(Code::InvalidArgument, format!("error reading the request: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_MESSAGE {
            return Err(too_long());
        }
        // One that does not say how long it is may become as long as any.
        if share.is_none() && bytes.len() + data.len() > SMALL {
            share = room(daemon, MAX_MESSAGE).await?;
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), share))
}

/// What a message that was read goes on to need.
pub(super) fn keep(share: &mut Share, bytes: usize) {
    share.shrink(if bytes <= SMALL { 0 } else { bytes });
}

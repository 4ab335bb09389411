//! Lines of an execution's answer.

use std::sync::Arc;

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::http::MAX_ANSWER;
use crate::rpc::Target;
use crate::{Error, ErrorKind};

/// Lines of a body; one line is at most [`MAX_ANSWER`] bytes.
#[derive(Debug)]
pub(super) struct Lines {
    target: Arc<Target>,
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    pub(super) fn new(target: Arc<Target>, body: Incoming) -> Self {
        Self { target, body, buffer: BytesMut::new() }
    }

    pub(super) async fn next(&mut self) -> Result<Option<BytesMut>, Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                return Ok(Some(self.buffer.split_to(searched + at + 1)));
            }
            searched = self.buffer.len();
            if searched > MAX_ANSWER {
                return Err(Error::new(
                    ErrorKind::Sandbox,
                    "the interpreter sent a line of more than 64 MiB",
                ));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => self.buffer.extend_from_slice(&data),
                Ok(Err(_)) => {}
                Err(e) => return Err(self.target.lost(Some(e)).await),
            }
        }
    }
}

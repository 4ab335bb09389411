//! `upload`: the file of a form goes into the sandbox while it arrives.

use std::time::Duration;

use axum::Json as Answer;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use futures_util::{StreamExt as _, stream};
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use tokio::sync::mpsc;
use wire::multipart::{Item, Malformed, Parser};
use wire::session::Uploaded;

use super::error::Failure;
use super::extract::{Caller, Id, Query};
use crate::App;
use crate::app::{SessionError, target};

/// Where files go when the request does not say.
const DIRECTORY: &str = "/home/user/upload";

/// A client that sends nothing for this long has gone.
const STALL: Duration = Duration::from_mins(1);

/// Pieces between the client and the sandbox; then the client waits.
const PIECES: usize = 4;

#[derive(Debug, Deserialize)]
pub(super) struct Where {
    path: Option<String>,
}

pub(super) async fn upload(
    State(app): State<App>,
    Caller(caller): Caller,
    Id(id): Id,
    Query(to): Query<Where>,
    request: Request,
) -> Result<Answer<Uploaded>, Failure> {
    let directory = to.path.unwrap_or_else(|| DIRECTORY.to_owned());
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    if !content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        return Err(Failure::bad_request("the body is not multipart/form-data with a part named file"));
    }
    let parser = Parser::new(&content_type).map_err(malformed)?;
    let limit = app.options().session.max_upload;
    let mut form = Form {
        body: request.into_body().into_data_stream(),
        parser,
        left: limit.as_u64(),
        limit_mib: limit.as_mib(),
    };
    let held = app.session_find(&caller, &id).await?;
    let path = target(&directory, &form.file_name().await?)?;
    let (pieces, arriving) = mpsc::channel(PIECES);
    let content = Body::from_stream(stream::unfold(arriving, async |mut arriving| {
        let piece: Option<Result<Bytes, std::io::Error>> = arriving.recv().await;
        piece.map(|piece| (piece, arriving))
    }));
    // Whichever fails first tells why: a form that breaks off breaks the writing, too.
    let (sent, written) = tokio::join!(form.send(pieces), app.session_write(&held, &path, content));
    sent?;
    written?;
    Ok(Answer(Uploaded { path }))
}

/// The form while it arrives.
struct Form {
    body: BodyDataStream,
    parser: Parser,
    left: u64,
    limit_mib: u64,
}

impl Form {
    /// Reads up to the content of the part named `file`.
    async fn file_name(&mut self) -> Result<String, Failure> {
        let missing = || Failure::bad_request("the form has no part named file with a file name");
        loop {
            match self.item().await?.ok_or_else(missing)? {
                Item::Part(part) if part.name.as_deref() == Some("file") => {
                    return part.filename.filter(|name| !name.is_empty()).ok_or_else(missing);
                }
                Item::End => return Err(missing()),
                _ => {}
            }
        }
    }

    /// Hands the part's content on. What follows it is read to its end: a
    /// connection that is closed on unread bytes loses the answer.
    async fn send(&mut self, pieces: mpsc::Sender<Result<Bytes, std::io::Error>>) -> Result<(), Failure> {
        let mut to = Some(pieces);
        loop {
            match self.item().await {
                Ok(Some(Item::Data(bytes))) => {
                    if let Some(pieces) = &to
                        && pieces.send(Ok(bytes)).await.is_err()
                    {
                        // The sandbox has refused; its answer says why.
                        return Ok(());
                    }
                }
                Ok(Some(Item::PartEnd)) => to = None,
                Ok(Some(Item::Part(_) | Item::End)) => {}
                Ok(None) => return self.parser.finish().map_err(malformed),
                Err(failure) => {
                    if let Some(pieces) = to {
                        // Half a file must not look like a whole one.
                        let _ = pieces.send(Err(std::io::ErrorKind::UnexpectedEof.into())).await;
                    }
                    return Err(failure);
                }
            }
        }
    }

    async fn item(&mut self) -> Result<Option<Item>, Failure> {
        loop {
            if let Some(item) = self.parser.next_item().map_err(malformed)? {
                return Ok(Some(item));
            }
            let late = |_| Failure::bad_request("file: the body did not arrive in time");
            let Some(piece) = tokio::time::timeout(STALL, self.body.next()).await.map_err(late)? else {
                return Ok(None);
            };
            let piece = piece.map_err(|_| Failure::bad_request("file: the body broke off"))?;
            let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.left = self.left.checked_sub(len).ok_or(SessionError::TooLarge(self.limit_mib))?;
            self.parser.push(&piece);
        }
    }
}

fn malformed(error: Malformed) -> Failure {
    Failure::bad_request(format!("file: {error}"))
}

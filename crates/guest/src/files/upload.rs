//! `POST /files`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use tokio::time::timeout;
use wire::files::{Operation, WrittenFile};
use wire::query::Query;

use super::multipart::{Item, Malformed, Parser, Part};
use super::target::{failure, is_full, open};
use super::writer::Writer;
use super::{absolute, metadata, user};
use crate::daemon::Daemon;
use crate::fs::path::base_name;
use crate::http::error::json;
use crate::http::{HttpFailure, Request, RequestBody, Response, auth};
use crate::user::User;

/// An upload that brings nothing for this long is given up.
const STALL: Duration = Duration::from_secs(100);
/// Parts of one request at most.
const MAX_PARTS: usize = 10_000;

/// Answers an upload.
pub(crate) async fn upload(daemon: &Daemon, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query());
    let mut body = Source { body, gunzip: None };
    match try_upload(daemon, &head.headers, &query, &mut body).await {
        Ok(written) => json(&written),
        Err(failure) => failure.into_response(),
    }
}

async fn try_upload(
    daemon: &Daemon,
    headers: &HeaderMap,
    query: &Query,
    body: &mut Source,
) -> Result<Vec<WrittenFile>, HttpFailure> {
    let token = daemon.settings.get().access_token.clone();
    auth::check_files(token.as_deref(), headers, query, Operation::Write)?;
    let upload = Upload {
        daemon,
        user: user(daemon, query)?,
        path: query.get("path").filter(|path| !path.is_empty()),
        metadata: metadata::of_headers(headers)?,
        announced: text(headers, &CONTENT_LENGTH),
    };
    match text(headers, &CONTENT_ENCODING) {
        None | Some("" | "identity") => {}
        Some("gzip") => body.gunzip = Some(MultiGzDecoder::new(Vec::new())),
        Some(other) => return Err(bad_request(format!("unsupported content encoding: {other}"))),
    }
    let content_type = text(headers, &CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/octet-stream" => upload.raw(body).await,
        multipart if multipart.starts_with("multipart/") => upload.parts(content_type, body).await,
        _ => Err(bad_request(format!("unsupported content type: {content_type}"))),
    }
}

/// What holds for the whole request.
struct Upload<'a> {
    daemon: &'a Daemon,
    user: User,
    path: Option<&'a str>,
    metadata: BTreeMap<String, String>,
    announced: Option<&'a str>,
}

impl Upload<'_> {
    async fn raw(&self, body: &mut Source) -> Result<Vec<WrittenFile>, HttpFailure> {
        let path =
            self.path.ok_or_else(|| bad_request("path query parameter is required for raw body upload"))?;
        let path = absolute(self.daemon, path, &self.user)?;
        let mut writer = self.open(&path)?;
        while let Some(piece) = body.next().await? {
            writer.push(piece).await.map_err(|error| self.write_failure(&error))?;
        }
        writer.finish().await.map_err(|error| self.write_failure(&error))?;
        Ok(vec![self.written(path)])
    }

    async fn parts(&self, content_type: &str, body: &mut Source) -> Result<Vec<WrittenFile>, HttpFailure> {
        let mut parser = Parser::new(content_type).map_err(malformed)?;
        let mut written: Vec<WrittenFile> = Vec::new();
        let mut current: Option<(String, Writer)> = None;
        while let Some(piece) = body.next().await? {
            parser.push(&piece);
            while let Some(item) = parser.next_item().map_err(malformed)? {
                match item {
                    Item::Part(part) => current = self.begin(&part, &written)?,
                    Item::Data(bytes) => {
                        if let Some((_, writer)) = &mut current {
                            writer.push(bytes).await.map_err(|error| self.write_failure(&error))?;
                        }
                    }
                    Item::PartEnd => {
                        if let Some((path, writer)) = current.take() {
                            writer.finish().await.map_err(|error| self.write_failure(&error))?;
                            written.push(self.written(path));
                        }
                    }
                    Item::End => {}
                }
            }
        }
        parser.finish().map_err(malformed)?;
        Ok(written)
    }

    /// Opens the target of a part; parts that are no files are skipped.
    fn begin(&self, part: &Part, written: &[WrittenFile]) -> Result<Option<(String, Writer)>, HttpFailure> {
        if part.name.as_deref() != Some("file") {
            return Ok(None);
        }
        let path = self.path.or(part.filename.as_deref()).unwrap_or_default();
        let path = absolute(self.daemon, path, &self.user)?;
        if written.iter().any(|earlier| earlier.path == path) {
            return Err(bad_request(format!(
                "you cannot upload multiple files to the same path '{path}' in one upload request, only the first specified file was uploaded"
            )));
        }
        if written.len() == MAX_PARTS {
            return Err(bad_request(format!("more than {MAX_PARTS} files in one upload request")));
        }
        let writer = self.open(&path)?;
        Ok(Some((path, writer)))
    }

    fn open(&self, path: &str) -> Result<Writer, HttpFailure> {
        open(path, &self.user, &self.metadata).map(Writer::new)
    }

    fn written(&self, path: String) -> WrittenFile {
        let name = base_name(&path).to_owned();
        WrittenFile { name, path, file_type: "file".to_owned(), metadata: self.metadata.clone() }
    }

    fn write_failure(&self, error: &io::Error) -> HttpFailure {
        match self.announced {
            Some(len) if is_full(error) => HttpFailure::new(
                StatusCode::INSUFFICIENT_STORAGE,
                format!("attempted to write {len} bytes: not enough disk space available"),
            ),
            _ => failure("error writing file", error),
        }
    }
}

/// The request's body, decompressed if need be.
struct Source {
    body: RequestBody,
    gunzip: Option<MultiGzDecoder<Vec<u8>>>,
}

impl Source {
    /// The next piece of content; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, HttpFailure> {
        loop {
            let Some(piece) = self.raw().await? else { return self.rest_of_gunzip() };
            let Some(gunzip) = &mut self.gunzip else { return Ok(Some(piece)) };
            gunzip.write_all(&piece).map_err(|error| bad_gzip(&error))?;
            let unpacked = std::mem::take(gunzip.get_mut());
            if !unpacked.is_empty() {
                return Ok(Some(unpacked.into()));
            }
        }
    }

    async fn raw(&mut self) -> Result<Option<Bytes>, HttpFailure> {
        loop {
            let stalled = || HttpFailure::new(StatusCode::REQUEST_TIMEOUT, "the upload stalled");
            match timeout(STALL, self.body.frame()).await.map_err(|_| stalled())? {
                None => return Ok(None),
                Some(Err(error)) => return Err(bad_request(format!("error reading the request: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn rest_of_gunzip(&mut self) -> Result<Option<Bytes>, HttpFailure> {
        let Some(gunzip) = self.gunzip.take() else { return Ok(None) };
        let rest = gunzip.finish().map_err(|error| bad_gzip(&error))?;
        Ok((!rest.is_empty()).then(|| rest.into()))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn bad_request(message: impl Into<String>) -> HttpFailure {
    HttpFailure::new(StatusCode::BAD_REQUEST, message)
}

fn bad_gzip(error: &io::Error) -> HttpFailure {
    bad_request(format!("error decompressing the upload: {error}"))
}

fn malformed(error: Malformed) -> HttpFailure {
    HttpFailure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("error parsing multipart form: {error}"))
}

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
use wire::multipart::{Item, Malformed, Parser, Part};
use wire::query::Query;

use super::target::{failure, is_full, open};
use super::writer::Writer;
use super::{absolute, metadata, user};
use crate::daemon::Daemon;
use crate::fs::path::base_name;
use crate::http::error::json;
use crate::http::{HttpFailure, Request, RequestBody, Response, auth};
use crate::user::User;

/// Packed bytes that are unpacked at once. They become a thousand times as many at most.
const GUNZIP_STEP: usize = 4 << 10;

/// Bytes that every gzip header has, and what it begins with.
const GZIP_HEAD: usize = 10;
const GZIP_DEFLATE: [u8; 3] = [0x1f, 0x8b, 8];

/// Answers an upload.
pub(crate) async fn upload(daemon: &Daemon, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query());
    let mut body = Source { body, gunzip: None, silence: daemon.options.bounds.upload_silence };
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
        Some("gzip") => body.gunzip = Some(Gunzip::default()),
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
        let taken = self.take(body, &mut writer).await;
        // Nothing is still being written when an upload that broke off is answered.
        let finished = writer.finish().await;
        taken?;
        finished.map_err(|error| self.write_failure(&error))?;
        Ok(vec![self.written(path)])
    }

    async fn take(&self, body: &mut Source, writer: &mut Writer) -> Result<(), HttpFailure> {
        while let Some(piece) = body.next().await? {
            writer.push(piece).await.map_err(|error| self.write_failure(&error))?;
        }
        Ok(())
    }

    async fn parts(&self, content_type: &str, body: &mut Source) -> Result<Vec<WrittenFile>, HttpFailure> {
        let parser = Parser::new(content_type).map_err(malformed)?;
        let mut current = None;
        let outcome = self.take_parts(parser, body, &mut current).await;
        if let Some((_, writer)) = current {
            // The request broke off in this part: that is the error which is told.
            let _ = writer.finish().await;
        }
        outcome
    }

    async fn take_parts(
        &self,
        mut parser: Parser,
        body: &mut Source,
        current: &mut Option<(String, Writer)>,
    ) -> Result<Vec<WrittenFile>, HttpFailure> {
        let mut written: Vec<WrittenFile> = Vec::new();
        while let Some(piece) = body.next().await? {
            parser.push(&piece);
            while let Some(item) = parser.next_item().map_err(malformed)? {
                match item {
                    Item::Part(part) => *current = self.begin(&part, &written)?,
                    Item::Data(bytes) => {
                        if let Some((_, writer)) = current {
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
        let most = self.daemon.options.bounds.files;
        if written.len() >= most {
            return Err(bad_request(format!("more than {most} files in one upload request")));
        }
        let writer = self.open(&path)?;
        Ok(Some((path, writer)))
    }

    fn open(&self, path: &str) -> Result<Writer, HttpFailure> {
        let file = open(path, &self.user, &self.metadata)?;
        Writer::new(file).map_err(|error| failure("error opening file", &error))
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
    gunzip: Option<Gunzip>,
    /// How long nothing may come.
    silence: Duration,
}

/// Unpacks, a bounded step at a time.
#[derive(Debug)]
struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    packed: Bytes,
    /// How the body begins, as far as it came.
    head: Vec<u8>,
}

impl Default for Gunzip {
    fn default() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), packed: Bytes::new(), head: Vec::new() }
    }
}

impl Gunzip {
    /// Unpacks the next step of what is packed.
    fn step(&mut self) -> Result<Bytes, HttpFailure> {
        let step = self.packed.split_to(self.packed.len().min(GUNZIP_STEP));
        self.head.extend(step.iter().take(GZIP_HEAD - self.head.len()));
        let unpacked = self.decoder.write_all(&step).map(|()| std::mem::take(self.decoder.get_mut()));
        let unpacked = unpacked.map_err(|error| self.failure(&error))?;
        Ok(unpacked.into())
    }

    /// What is left at the end of the body.
    fn finish(mut self) -> Result<Bytes, HttpFailure> {
        let rest = self.decoder.try_finish().map(|()| std::mem::take(self.decoder.get_mut()));
        rest.map(Bytes::from).map_err(|error| self.failure(&error))
    }

    /// A body that does not even begin as its coding says is the request's fault; one that breaks off or is damaged
    /// later may have been written to in part.
    fn failure(&self, error: &io::Error) -> HttpFailure {
        let has_begun = self.head.len() == GZIP_HEAD && self.head.starts_with(&GZIP_DEFLATE);
        let status = if has_begun { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST };
        HttpFailure::new(status, format!("error decompressing the upload: {error}"))
    }
}

impl Source {
    /// The next piece of content; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, HttpFailure> {
        loop {
            if let Some(gunzip) = &mut self.gunzip
                && !gunzip.packed.is_empty()
            {
                let unpacked = gunzip.step()?;
                if !unpacked.is_empty() {
                    return Ok(Some(unpacked));
                }
                continue;
            }
            let piece = self.raw().await?;
            match (piece, &mut self.gunzip) {
                (Some(piece), Some(gunzip)) => gunzip.packed = piece,
                (Some(piece), None) => return Ok(Some(piece)),
                (None, _) => {
                    let rest = self.gunzip.take().map(Gunzip::finish).transpose()?;
                    return Ok(rest.filter(|rest| !rest.is_empty()));
                }
            }
        }
    }

    async fn raw(&mut self) -> Result<Option<Bytes>, HttpFailure> {
        loop {
            let stalled = || HttpFailure::new(StatusCode::REQUEST_TIMEOUT, "the upload stalled");
            match timeout(self.silence, self.body.frame()).await.map_err(|_| stalled())? {
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
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn bad_request(message: impl Into<String>) -> HttpFailure {
    HttpFailure::new(StatusCode::BAD_REQUEST, message)
}

fn malformed(error: Malformed) -> HttpFailure {
    HttpFailure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("error parsing multipart form: {error}"))
}

//! `GET /files`.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE,
    HeaderValue, IF_MODIFIED_SINCE, IF_RANGE, LAST_MODIFIED, RANGE, VARY,
};
use http::{HeaderMap, StatusCode};
use tokio::sync::mpsc;
use wire::files::Operation;
use wire::query::Query;

use super::{absolute, user};
use crate::daemon::Daemon;
use crate::fs::path::base_name;
use crate::http::error::set;
use crate::http::{Body, HttpFailure, Request, Response, auth, date};

/// Files up to this size are read at once.
const SMALL: u64 = 64 << 10;
/// Longer ones in pieces of this size.
const PIECE: usize = 256 << 10;

/// Answers a download.
pub(crate) async fn download(daemon: &Daemon, request: Request) -> Response {
    match try_download(daemon, &request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn try_download(daemon: &Daemon, request: &Request) -> Result<Response, HttpFailure> {
    let query = Query::parse(request.uri().query());
    let token = daemon.settings.get().access_token.clone();
    auth::check_files(token.as_deref(), request.headers(), &query, Operation::Read)?;
    let user = user(daemon, &query)?;
    let path = absolute(daemon, query.get("path").unwrap_or_default(), &user)?;
    let about = std::fs::metadata(&path).map_err(|error| stat_failure(&path, &error))?;
    if about.is_dir() {
        return Err(HttpFailure::new(StatusCode::BAD_REQUEST, format!("path '{path}' is a directory")));
    }
    let mut response = match Wanted::of(request.headers(), &about) {
        Wanted::NotModified => status(StatusCode::NOT_MODIFIED),
        Wanted::Unsatisfiable => unsatisfiable(&about),
        Wanted::Range { start, end } => range(&path, &about, start, end).await?,
        Wanted::Gzip => gzip(&path).await?,
        Wanted::Whole => whole(&path, &about).await?,
    };
    describe(response.headers_mut(), &path, &about);
    Ok(response)
}

/// What part of a file a request asks for, in which form.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    NotModified,
    Unsatisfiable,
    /// Both ends inclusive.
    Range {
        start: u64,
        end: u64,
    },
    Gzip,
    Whole,
}

impl Wanted {
    fn of(headers: &HeaderMap, about: &Metadata) -> Self {
        // Files whose size means nothing (`/proc`, pipes) are read to their end instead.
        let sized = about.is_file() && about.len() > 0;
        if sized && let Some(range) = text(headers, &RANGE).filter(|_| still_same(headers, about)) {
            return Self::of_range(range, about.len());
        }
        if text(headers, &IF_MODIFIED_SINCE).and_then(date::parse).is_some_and(|since| !newer(about, since)) {
            return Self::NotModified;
        }
        if only_gzip(text(headers, &ACCEPT_ENCODING)) { Self::Gzip } else { Self::Whole }
    }

    /// One range; several, or what is none, get the whole file, as RFC 9110 allows.
    fn of_range(range: &str, len: u64) -> Self {
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-'))
        else {
            return Self::Whole;
        };
        let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(start), Ok(end)) if start <= end => (start, end.min(len - 1)),
            (Ok(start), Err(_)) if last.is_empty() => (start, len - 1),
            (Err(_), Ok(0)) if first.is_empty() => return Self::Unsatisfiable,
            (Err(_), Ok(n)) if first.is_empty() => (len.saturating_sub(n), len - 1),
            _ => return Self::Whole,
        };
        if start >= len { Self::Unsatisfiable } else { Self::Range { start, end } }
    }
}

/// Compressing costs more time than it saves on a local network, so a client
/// that would take the plain bytes gets them: the SDKs offer both by default.
fn only_gzip(accepted: Option<&str>) -> bool {
    let Some(accepted) = accepted else { return false };
    let mut codings = accepted.split(',').map(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = parameters.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        (name.trim(), refused)
    });
    let wanted: Vec<(&str, bool)> = codings.by_ref().collect();
    let gzip = wanted.iter().any(|(name, refused)| *name == "gzip" && !refused);
    let plain_refused = wanted.iter().any(|(name, refused)| matches!(*name, "identity" | "*") && *refused);
    gzip && (wanted.len() == 1 || plain_refused)
}

fn still_same(headers: &HeaderMap, about: &Metadata) -> bool {
    text(headers, &IF_RANGE).is_none_or(|value| date::parse(value).is_some_and(|then| !newer(about, then)))
}

/// Whether the file changed after `then`, in whole seconds as HTTP has them.
fn newer(about: &Metadata, then: i64) -> bool {
    std::os::unix::fs::MetadataExt::mtime(about) > then
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn whole(path: &str, about: &Metadata) -> Result<Response, HttpFailure> {
    if about.is_file() && (1..=SMALL).contains(&about.len()) {
        let bytes = std::fs::read(path).map_err(|error| stat_failure(path, &error))?;
        return Ok(Response::new(Body::from(bytes)));
    }
    // A size of 0 may be a file of `/proc`, and a pipe has none.
    let len = (about.is_file() && about.len() > 0).then_some(about.len());
    stream(path, len, Ok).await.map(Response::new)
}

async fn range(path: &str, about: &Metadata, start: u64, end: u64) -> Result<Response, HttpFailure> {
    let body = stream(path, Some(end - start + 1), move |mut file| {
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    });
    let mut response = Response::new(body.await?);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes {start}-{end}/{}", about.len()));
    Ok(response)
}

async fn gzip(path: &str) -> Result<Response, HttpFailure> {
    let body = stream(path, None, |file| Ok(GzEncoder::new(file, Compression::fast()))).await?;
    let mut response = Response::new(body);
    set(response.headers_mut(), CONTENT_ENCODING, "gzip");
    Ok(response)
}

fn unsatisfiable(about: &Metadata) -> Response {
    let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
    insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", about.len()));
    response
}

/// A body that a thread reads. Opening happens there too: it may wait, as with a pipe.
async fn stream<R: Read>(
    path: &str,
    len: Option<u64>,
    prepare: impl FnOnce(File) -> io::Result<R> + Send + 'static,
) -> Result<Body, HttpFailure> {
    let (sender, pieces) = mpsc::channel(2);
    let owned = path.to_owned();
    let (opened, when_open) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || match File::open(owned).and_then(prepare) {
        Err(error) => drop(opened.send(Err(error))),
        Ok(reader) => {
            if opened.send(Ok(())).is_ok() {
                send_all(reader, len.unwrap_or(u64::MAX), &sender);
            }
        }
    });
    match when_open.await {
        Ok(Ok(())) => Ok(Body::Pieces { pieces, len }),
        Ok(Err(error)) => Err(stat_failure(path, &error)),
        Err(_) => Err(HttpFailure::new(StatusCode::INTERNAL_SERVER_ERROR, "the reader has gone")),
    }
}

/// Sends `left` bytes or to the end. A file that ends early cuts the connection:
/// its length was promised.
fn send_all(mut reader: impl Read, mut left: u64, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let bounded = left != u64::MAX;
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = Vec::with_capacity(n);
        let read = reader.by_ref().take(n as u64).read_to_end(&mut piece);
        let piece = match read {
            Ok(0) if bounded => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => return,
            Ok(_) => Ok(Bytes::from(piece)),
            Err(error) => Err(error),
        };
        left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        let failed = piece.is_err();
        // A closed channel means that the client has gone.
        if sender.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

fn describe(headers: &mut HeaderMap, path: &str, about: &Metadata) {
    set(headers, VARY, "Accept-Encoding");
    set(headers, ACCEPT_RANGES, "bytes");
    set(headers, CONTENT_TYPE, content_type(path));
    insert(headers, CONTENT_DISPOSITION, &disposition(base_name(path)));
    if let Ok(modified) = about.modified()
        && modified > SystemTime::UNIX_EPOCH
    {
        insert(headers, LAST_MODIFIED, &date::format(std::os::unix::fs::MetadataExt::mtime(about)));
    }
}

/// The name as a token, quoted, or percent-encoded, whichever it needs.
fn disposition(name: &str) -> String {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&b);
    if name.bytes().all(token) {
        format!("inline; filename={name}")
    } else if name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("inline; filename=\"{escaped}\"")
    } else {
        let encode = |b: u8| if token(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
        format!("inline; filename*=utf-8''{}", name.bytes().map(encode).collect::<String>())
    }
}

fn content_type(path: &str) -> &'static str {
    match base_name(path).rsplit_once('.').map_or("", |(_, extension)| extension) {
        "txt" | "log" | "md" | "py" | "sh" => "text/plain; charset=utf-8",
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => "text/xml; charset=utf-8",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Sets a header to a text that holds only printable ASCII.
fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn stat_failure(path: &str, error: &io::Error) -> HttpFailure {
    match error.kind() {
        io::ErrorKind::NotFound => {
            HttpFailure::new(StatusCode::NOT_FOUND, format!("path '{path}' does not exist"))
        }
        _ => HttpFailure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("error opening file '{path}': {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let of = |range| Wanted::of_range(range, 10);
        assert_eq!(of("bytes=0-3"), Wanted::Range { start: 0, end: 3 });
        assert_eq!(of("bytes=4-"), Wanted::Range { start: 4, end: 9 });
        assert_eq!(of("bytes=-3"), Wanted::Range { start: 7, end: 9 });
        assert_eq!(of("bytes=-30"), Wanted::Range { start: 0, end: 9 });
        assert_eq!(of("bytes=5-300"), Wanted::Range { start: 5, end: 9 });
        assert_eq!(of("bytes=10-"), Wanted::Unsatisfiable);
        assert_eq!(of("bytes=-0"), Wanted::Unsatisfiable);
        for whole in ["bytes=3-1", "bytes=0-1,4-5", "lines=1-2", "bytes=x-", "bytes=-"] {
            assert_eq!(of(whole), Wanted::Whole, "{whole}");
        }
    }

    #[test]
    fn compression_only_for_those_who_want_nothing_else() {
        assert!(only_gzip(Some("gzip")));
        assert!(only_gzip(Some("gzip, identity;q=0")));
        assert!(!only_gzip(Some("gzip, deflate")));
        assert!(!only_gzip(Some("gzip;q=0")));
        assert!(!only_gzip(None));
    }

    #[test]
    fn names_in_headers() {
        assert_eq!(disposition("a.txt"), "inline; filename=a.txt");
        assert_eq!(disposition("a \"b\".txt"), r#"inline; filename="a \"b\".txt""#);
        assert_eq!(disposition("é\n"), "inline; filename*=utf-8''%C3%A9%0A");
    }
}

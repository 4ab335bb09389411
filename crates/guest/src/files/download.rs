//! `GET /files`.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzEncoder;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderValue,
    LAST_MODIFIED, VARY,
};
use http::{HeaderMap, StatusCode};
use wire::files::Operation;
use wire::query::Query;

use super::wanted::{Range, Wanted};
use super::{absolute, source, user};
use crate::daemon::Daemon;
use crate::fs::path::base_name;
use crate::http::error::set;
use crate::http::{Body, HttpFailure, Request, Response, auth, date};

/// Answers a download.
pub(crate) fn download(daemon: &Daemon, request: &Request) -> Response {
    match try_download(daemon, request) {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

fn try_download(daemon: &Daemon, request: &Request) -> Result<Response, HttpFailure> {
    let query = Query::parse(request.uri().query());
    let token = daemon.settings.get().access_token.clone();
    auth::check_files(token.as_deref(), request.headers(), &query, Operation::Read)?;
    let user = user(daemon, &query)?;
    let path = absolute(daemon, query.get("path").unwrap_or_default(), &user)?;
    let failed = |error: io::Error| open_failure(&path, &error);
    let file = source::open(&path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_dir() {
        return Err(HttpFailure::new(StatusCode::BAD_REQUEST, format!("path '{path}' is a directory")));
    }
    let wanted = Wanted::of(request.headers(), &about);
    if wanted == Wanted::NotAcceptable {
        let message = "no content coding that the client accepts is available";
        return Err(HttpFailure::new(StatusCode::NOT_ACCEPTABLE, message));
    }
    let mut response = answer(wanted, file, &about, &path).map_err(failed)?;
    describe(response.headers_mut(), &path, &about);
    Ok(response)
}

fn answer(wanted: Wanted, file: File, about: &Metadata, path: &str) -> io::Result<Response> {
    Ok(match wanted {
        Wanted::NotAcceptable | Wanted::ConditionFailed => status(StatusCode::PRECONDITION_FAILED),
        Wanted::NotModified => status(StatusCode::NOT_MODIFIED),
        Wanted::Unsatisfiable => {
            let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
            insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", about.len()));
            response
        }
        Wanted::Ranges(ranges) => match ranges[..] {
            [range] => one_range(file, range, about.len()),
            _ => several_ranges(file, &ranges, about.len(), content_type(path)),
        },
        Wanted::Gzip if !about.file_type().is_fifo() => {
            let packed = source::whole(GzEncoder::new(file, Compression::fast()), None);
            let mut response = Response::new(packed);
            set(response.headers_mut(), CONTENT_ENCODING, "gzip");
            response
        }
        Wanted::Gzip | Wanted::Whole => Response::new(whole(file, about)?),
    })
}

fn whole(file: File, about: &Metadata) -> io::Result<Body> {
    if about.file_type().is_fifo() {
        return source::pipe(file);
    }
    // A size of 0 may be a file of `/proc`, and a device has none.
    match Some(about.len()).filter(|len| about.is_file() && *len > 0) {
        Some(len) if len <= source::SMALL => source::small(file, len),
        len => Ok(source::whole(file, len)),
    }
}

fn one_range(file: File, range: Range, total: u64) -> Response {
    let mut response = Response::new(source::sections(file, vec![(Bytes::new(), range)], Bytes::new()));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    insert(response.headers_mut(), CONTENT_RANGE, &range.header(total));
    response
}

/// Each in a part of its own.
fn several_ranges(file: File, ranges: &[Range], total: u64, content_type: &str) -> Response {
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let sections = ranges.iter().enumerate().map(|(n, range)| {
        let line = if n == 0 { "" } else { "\r\n" };
        let content_range = range.header(total);
        let head = format!(
            "{line}--{boundary}\r\nContent-Range: {content_range}\r\nContent-Type: {content_type}\r\n\r\n"
        );
        (Bytes::from(head), *range)
    });
    let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let mut response = Response::new(source::sections(file, sections.collect(), tail));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    insert(response.headers_mut(), CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
    response
}

fn describe(headers: &mut HeaderMap, path: &str, about: &Metadata) {
    set(headers, VARY, "Accept-Encoding");
    set(headers, ACCEPT_RANGES, "bytes");
    if !headers.contains_key(CONTENT_TYPE) {
        set(headers, CONTENT_TYPE, content_type(path));
    }
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

fn open_failure(path: &str, error: &io::Error) -> HttpFailure {
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
    fn names_in_headers() {
        assert_eq!(disposition("a.txt"), "inline; filename=a.txt");
        assert_eq!(disposition("a \"b\".txt"), r#"inline; filename="a \"b\".txt""#);
        assert_eq!(disposition("é\n"), "inline; filename*=utf-8''%C3%A9%0A");
    }
}

//! `download` and `files`.

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt as _;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use serde::Deserialize;
use wire::filesystem::FileType;
use wire::query::escape;
use wire::session::FileInfo;

use super::error::Failure;
use super::extract::{Caller, Id, Query};
use crate::App;

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    path: Option<String>,
}

/// A file, as it comes from the sandbox.
pub(super) async fn download(
    State(app): State<App>,
    Caller(caller): Caller,
    Id(id): Id,
    Query(which): Query<Which>,
) -> Result<Response, Failure> {
    let path = which.path.ok_or_else(|| Failure::bad_request("path is missing"))?;
    let (held, answer) = app.session_read(&caller, &id, &path).await?;
    let length = answer.headers.get(CONTENT_LENGTH).cloned();
    // The session is not idle while its file is on the way.
    let pieces = answer.into_stream().map(move |piece| {
        let _ = &held;
        piece
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(disposition) = HeaderValue::from_str(&disposition(&path)) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length);
    }
    Ok(response)
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    Id(id): Id,
    Query(which): Query<Which>,
) -> Result<Answer<Vec<FileInfo>>, Failure> {
    let path = which.path.unwrap_or_else(|| "/".to_owned());
    let entries = app.session_list(&caller, &id, &path).await?;
    let shown = entries.into_iter().map(|entry| FileInfo {
        path: entry.path,
        size: u64::try_from(entry.size).unwrap_or(0),
        is_directory: entry.file_type == FileType::Directory,
    });
    Ok(Answer(shown.collect()))
}

/// The name for old clients in plain letters, and for others whatever it is.
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] })
        .collect();
    if name.chars().all(is_plain) {
        format!("attachment; filename=\"{plain}\"")
    } else {
        format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", escape(name))
    }
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn names_reach_old_and_new_clients() {
        assert_eq!(disposition("/home/user/data.json"), "attachment; filename=\"data.json\"");
        assert_eq!(disposition("/a\"b"), "attachment; filename=\"a\\\"b\"");
        assert_eq!(disposition("/é\r\nx"), "attachment; filename=\"___x\"; filename*=UTF-8''%C3%A9%0D%0Ax");
    }
}

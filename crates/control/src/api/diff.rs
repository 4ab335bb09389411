//! `GET /snapshots/diff`: how the files of two snapshots differ.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use node::{DiffRequest, Difference, FileKind, FileState};
use serde::Deserialize;
use wire::rest::{Change, ChangeKind, ChangedFile, ChangedFileKind};

use super::error::Failure;
use super::extract::Fields;
use super::snapshot::name;
use crate::App;
use crate::app::Caller;

/// Changes of one answer.
const MOST: usize = 1000;

/// No path of a sandbox is longer.
const LONGEST_PATH: usize = 4096;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiffFields {
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    next_token: Option<String>,
}

/// A page of it.
pub(super) async fn diff(
    State(app): State<App>,
    caller: Caller,
    Fields(fields): Fields<DiffFields>,
) -> Result<(HeaderMap, Json<Vec<Change>>), Failure> {
    let given = |text: Option<String>, side| {
        let text = text.filter(|text| !text.is_empty());
        let missing = || Failure::bad_request(format!("{side} must be the id of a snapshot"));
        name(&text.ok_or_else(missing)?)
    };
    let (from, to) = (given(fields.from, "from")?, given(fields.to, "to")?);
    let limit = fields.limit.unwrap_or(MOST);
    if !(1..=MOST).contains(&limit) {
        return Err(Failure::bad_request(format!("limit must be from 1 to {MOST}")));
    }
    let token = fields.next_token.filter(|token| !token.is_empty());
    let unknown = || Failure::bad_request("Invalid next token");
    let after = token.map(|token| place(&token).ok_or_else(unknown)).transpose()?;
    let page = app.diff(&caller, &from, &to, DiffRequest { after, limit }).await?;
    let mut headers = HeaderMap::new();
    let next = page.next.as_deref().map(token_of);
    if let Some(next) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
        headers.insert("x-next-token", next);
    }
    Ok((headers, Json(page.differences.into_iter().map(change).collect())))
}

fn token_of(place: &Path) -> String {
    URL_SAFE_NO_PAD.encode(place.as_os_str().as_bytes())
}

/// What [`token_of`] wrote, or anything that is a path.
fn place(token: &str) -> Option<PathBuf> {
    let path = URL_SAFE_NO_PAD.decode(token).ok()?;
    let fits = path.starts_with(b"/") && path.len() <= LONGEST_PATH && !path.contains(&0);
    fits.then(|| OsString::from_vec(path).into())
}

fn change(difference: Difference) -> Change {
    let Difference { path, before, after } = difference;
    let bytes = path.as_os_str().as_bytes();
    Change {
        path: String::from_utf8_lossy(bytes).into_owned(),
        path_base64: std::str::from_utf8(bytes).is_err().then(|| STANDARD.encode(bytes)),
        change: match (&before, &after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Modified,
        },
        before: before.as_ref().map(file),
        after: after.as_ref().map(file),
    }
}

fn file(state: &FileState) -> ChangedFile {
    let kind = match state.kind {
        FileKind::File => ChangedFileKind::File,
        FileKind::Directory => ChangedFileKind::Directory,
        FileKind::Symlink => ChangedFileKind::Symlink,
        FileKind::Fifo => ChangedFileKind::Fifo,
        FileKind::Socket => ChangedFileKind::Socket,
        FileKind::Device => ChangedFileKind::Device,
    };
    let FileState { size, mode, uid, gid, .. } = *state;
    ChangedFile { kind, size_bytes: size, mode, uid, gid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_path_and_nothing_else_is_one() {
        for path in ["/", "/a b/\u{e9}"] {
            assert_eq!(place(&token_of(Path::new(path))).unwrap(), Path::new(path));
        }
        let long = token_of(Path::new(&format!("/{}", "x".repeat(LONGEST_PATH))));
        for bad in ["1", "%%", "YQ", &token_of(Path::new("/a\0")), &long] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}

//! Files by the daemon: contents by `/files`, directories by its service.

use axum::body::Body;
use http::Request;
use http::header::CONTENT_TYPE;
use wire::connect::{Codec, Message as _};
use wire::control::ENVD_PORT;
use wire::filesystem::{EntryInfo, ListDirRequest, ListDirResponse, SERVICE};
use wire::query::escape;

use super::{Answer, Error, Inside};

impl Inside<'_> {
    /// Writes a file and the directories above it; replaces what was there.
    pub(crate) async fn write_file(&self, path: &str, content: Body) -> Result<(), Error> {
        let request = Request::post(format!("/files?path={}", escape(path)))
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(content)
            .map_err(|e| Error::Malformed(e.to_string()))?;
        let answer = self.ask(ENVD_PORT, request, None).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.failure().await) }
    }

    /// Opens a file for reading.
    pub(crate) async fn read_file(&self, path: &str) -> Result<Answer, Error> {
        let request = Request::get(format!("/files?path={}", escape(path)))
            .body(Body::empty())
            .map_err(|e| Error::Malformed(e.to_string()))?;
        let answer = self.ask(ENVD_PORT, request, None).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.failure().await) }
    }

    /// What is in a directory.
    pub(crate) async fn list_dir(&self, path: &str) -> Result<Vec<EntryInfo>, Error> {
        let request = ListDirRequest { path: path.to_owned(), depth: 1 };
        let request = Request::post(format!("{SERVICE}ListDir"))
            .header(CONTENT_TYPE, Codec::Json.unary_content_type())
            .header("connect-protocol-version", "1")
            .body(Body::from(request.encode(Codec::Json)))
            .map_err(|e| Error::Malformed(e.to_string()))?;
        let answer = self.ask(ENVD_PORT, request, None).await?;
        if !answer.status.is_success() {
            return Err(answer.failure().await);
        }
        let listed = ListDirResponse::decode(Codec::Json, &answer.whole().await?);
        Ok(listed.map_err(|e| Error::Malformed(e.to_string()))?.entries)
    }
}

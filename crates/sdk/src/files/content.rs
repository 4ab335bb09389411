//! Reading and writing the content of files.

use std::collections::BTreeMap;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::Stream;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use wire::control::ENVD_PORT;
use wire::files::METADATA_HEADER_PREFIX;

use super::{Files, missing};
use crate::api::parse;
use crate::http::{Payload, answer_error, pieces, read_all};
use crate::{Error, ErrorKind};

/// What was stored.
pub use wire::files::WrittenFile as Written;

/// Splits the parts of a form; no file holds it by chance.
const BOUNDARY: &str = "warren-7c1f0b86d14e4fb3a2c95e6f38d2b4a1";

/// How to write a file.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    metadata: BTreeMap<String, String>,
    gzip: bool,
}

impl WriteOptions {
    /// Nothing special.
    pub fn new() -> Self {
        Self::default()
    }

    /// Attaches a note to the file, found again in its [`super::Entry`]; printable ASCII.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Compresses it on the way.
    #[must_use]
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    fn headers(&self, mut headers: HeaderMap) -> Result<HeaderMap, Error> {
        for (key, value) in &self.metadata {
            let wrong = || Error::invalid(format!("metadata {key:?} is not printable ASCII"));
            let printable = value.bytes().all(|b| (0x20..=0x7e).contains(&b));
            let name = format!("{METADATA_HEADER_PREFIX}{key}").parse::<HeaderName>().map_err(|_| wrong())?;
            let value = HeaderValue::from_str(value).ok().filter(|_| printable).ok_or_else(wrong)?;
            headers.insert(name, value);
        }
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(headers)
    }
}

impl Files<'_> {
    /// Reads a file as text; bytes that are not UTF-8 are replaced.
    pub async fn read(&self, path: &str) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.read_bytes(path).await?).into_owned())
    }

    /// Reads a file, at most 64 MiB.
    pub async fn read_bytes(&self, path: &str) -> Result<Bytes, Error> {
        let config = &self.target.config;
        let (url, headers) = (self.url(Some(path)), self.target.headers(ENVD_PORT));
        let read = config.http.call(Method::GET, &url, headers, Payload::none(), config.request_timeout);
        read.await.map_err(missing)
    }

    /// Reads a file of any size piece by piece. It fails where no byte comes for
    /// the time of one request.
    pub async fn read_stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let (url, headers) = (self.url(Some(path)), self.target.headers(ENVD_PORT));
        let response = self.target.send(Method::GET, &url, headers, Payload::none()).await?;
        let status = response.status();
        if !status.is_success() {
            let body = read_all(response.into_body()).await?;
            return Err(missing(answer_error(status.as_u16(), &body)));
        }
        Ok(pieces(response.into_body(), self.target.config.request_timeout))
    }

    /// Writes a file, and the directories above it; replaces what was there.
    pub async fn write(&self, path: &str, data: impl Into<Bytes>) -> Result<Written, Error> {
        self.write_with(path, data, &WriteOptions::new()).await
    }

    /// [`Files::write`] with further options.
    pub async fn write_with(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let data = if options.gzip { compressed(&data.into())? } else { data.into() };
        self.upload(path, data.into(), options).await
    }

    /// Writes a file of any size from a stream.
    pub async fn write_stream<E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static>(
        &self,
        path: &str,
        data: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<Written, Error> {
        self.upload(path, Payload::stream(data), &WriteOptions::new()).await
    }

    /// Writes several files in one request.
    pub async fn write_files<P: AsRef<str>, D: AsRef<[u8]>>(
        &self,
        files: impl IntoIterator<Item = (P, D)>,
    ) -> Result<Vec<Written>, Error> {
        let mut form = Vec::new();
        for (path, data) in files {
            let name = path.as_ref().replace('"', "%22").replace(['\r', '\n'], " ");
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            );
            form.extend_from_slice(head.as_bytes());
            form.extend_from_slice(data.as_ref());
            form.extend_from_slice(b"\r\n");
        }
        if form.is_empty() {
            return Ok(Vec::new());
        }
        form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let content_type = HeaderValue::from_str(&content_type)
            .map_err(|e| Error::caused(ErrorKind::InvalidArgument, "the form has no valid type", e))?;
        self.post(self.url(None), Bytes::from(form).into(), content_type, &WriteOptions::new()).await
    }

    async fn upload(&self, path: &str, data: Payload, options: &WriteOptions) -> Result<Written, Error> {
        let kind = HeaderValue::from_static("application/octet-stream");
        let mut written = self.post(self.url(Some(path)), data, kind, options).await?;
        written.pop().ok_or_else(|| Error::new(ErrorKind::Sandbox, "the answer names no file"))
    }

    async fn post(
        &self,
        url: String,
        data: Payload,
        content_type: HeaderValue,
        options: &WriteOptions,
    ) -> Result<Vec<Written>, Error> {
        let mut headers = options.headers(self.target.headers(ENVD_PORT))?;
        headers.insert(CONTENT_TYPE, content_type);
        let config = &self.target.config;
        // An upload takes as long as it takes; only in memory is its size known to be small.
        let timeout = match &data {
            Payload::Whole(bytes) if bytes.len() < 8 << 20 => config.request_timeout,
            _ => config.request_timeout.max(std::time::Duration::from_hours(1)),
        };
        parse(&config.http.call(Method::POST, &url, headers, data, timeout).await.map_err(missing)?)
    }
}

fn compressed(data: &[u8]) -> Result<Bytes, Error> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let done = encoder.write_all(data).and_then(|()| encoder.finish());
    let bytes = done.map_err(|e| Error::caused(ErrorKind::InvalidArgument, "compressing the file", e))?;
    Ok(Bytes::from(bytes))
}

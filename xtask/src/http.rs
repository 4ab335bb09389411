//! A small blocking HTTP/1.1 client for the measurements: one connection that
//! stays open, nothing hidden between the clock and the socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Bodies up to this size are sent together with their head.
const COPIED: usize = 16 * 1024;

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// One kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Answer {
    /// The body as JSON; an error when the status is not a success.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        self.ok()?;
        serde_json::from_slice(&self.body).context("read a JSON body")
    }

    /// An error with the body's text when the status is not a success.
    pub(crate) fn ok(&self) -> anyhow::Result<()> {
        if !(200..300).contains(&self.status) {
            bail!("status {}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        Ok(())
    }
}

impl Connection {
    /// Connects; every read and write is bounded by a minute.
    pub(crate) fn open(host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).with_context(|| format!("connect to {host}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let limit = Some(Duration::from_mins(1));
        stream.set_read_timeout(limit).context("limit reads")?;
        stream.set_write_timeout(limit).context("limit writes")?;
        Ok(Self { stream: BufReader::with_capacity(256 * 1024, stream), host: host.to_owned() })
    }

    /// Waits this long for each read, for what is known to take longer.
    pub(crate) fn patient(self, limit: Duration) -> anyhow::Result<Self> {
        self.stream.get_ref().set_read_timeout(Some(limit)).context("limit reads")?;
        Ok(self)
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host).into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        // A small body goes along in the same segment; a large one is not copied.
        let (along, apart) = if body.len() <= COPIED { (body, &[][..]) } else { (&[][..], body) };
        bytes.extend_from_slice(along);
        let stream = self.stream.get_mut();
        stream.write_all(&bytes).and_then(|()| stream.write_all(apart)).context("send a request")?;
        self.answer().with_context(|| format!("{method} {path}"))
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|text| text.parse().ok()).context("read the status")?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { bail!("header {line:?}") };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().context("read Content-Length")?,
                "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
        let body = if chunked { self.chunks()? } else { self.exactly(length)? };
        Ok(Answer { status, body })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("read a line")? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end().to_owned())
    }

    fn exactly(&mut self, length: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("read a body")?;
        Ok(body)
    }

    fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).context("read a chunk's size")?;
            body.extend(self.exactly(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

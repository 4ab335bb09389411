//! The response body: lines from whoever runs the code, keepalives in between.
//!
//! Every line is ASCII: what is not is escaped. The queue between the two ends is
//! bounded in bytes; a full one holds the writer back. When the client leaves,
//! the body is dropped, and the writer learns it from [`Lines::closed`].

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use serde::Serialize as _;
use serde::ser::Error as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep};
use wire::execute::{Failure, Item, Output};

use super::config::{KEEPALIVE, MAX_QUEUED};

/// Lines queued at once, however short.
const MAX_LINES: usize = 1024;

type Line = (Bytes, OwnedSemaphorePermit);

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub(super) struct Gone;

/// The writing end.
#[derive(Debug)]
pub(super) struct Lines {
    queue: mpsc::Sender<Line>,
    budget: Arc<Semaphore>,
}

/// The reading end, a body for hyper.
#[derive(Debug)]
pub(super) struct LineBody {
    queue: mpsc::Receiver<Line>,
    silence: Pin<Box<Sleep>>,
}

/// A connected pair.
pub(super) fn lines() -> (Lines, LineBody) {
    let (sender, receiver) = mpsc::channel(MAX_LINES);
    let lines = Lines { queue: sender, budget: Arc::new(Semaphore::new(MAX_QUEUED as usize)) };
    (lines, LineBody { queue: receiver, silence: Box::pin(sleep(KEEPALIVE)) })
}

impl Lines {
    /// Waits until the client is gone. Cancel-safe.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Queues an item; waits while the queue is full. Cancel-safe: a dropped send
    /// has queued nothing.
    pub(super) async fn item(&self, item: &Item) -> Result<(), Gone> {
        // Items have string keys and finite numbers only, so they always serialise.
        let text = spaced(item).map_err(|_| Gone)?;
        let mut line = Vec::with_capacity(text.len() + 1);
        push_ascii(&text, &mut line);
        self.line(line).await
    }

    /// Queues a line made elsewhere, ASCII and without its end.
    pub(super) async fn line(&self, mut line: Vec<u8>) -> Result<(), Gone> {
        line.push(b'\n');
        // A line longer than the whole budget takes all of it.
        let weight = u32::try_from(line.len()).unwrap_or(u32::MAX).min(MAX_QUEUED);
        let permit = Arc::clone(&self.budget).acquire_many_owned(weight);
        let permit = tokio::select! {
            biased;
            () = self.queue.closed() => return Err(Gone),
            // The semaphore is never closed.
            permit = permit => permit.map_err(|_| Gone)?,
        };
        self.queue.send((line.into(), permit)).await.map_err(|_| Gone)
    }

    /// Queues text of the service's own for the standard error.
    pub(super) async fn remark(&self, text: &str) -> Result<(), Gone> {
        let text = format!("[warren] {text}\n");
        self.item(&Item::Stderr(Output { text, timestamp: now() })).await
    }

    /// Queues a failure without traceback.
    pub(super) async fn failure(&self, name: &str, value: &str) -> Result<(), Gone> {
        let failure = Failure { name: name.to_owned(), value: value.to_owned(), traceback: String::new() };
        self.item(&Item::Error(failure)).await
    }
}

/// JSON as Python writes it, with a blank after each comma and colon: people
/// compare these lines with the reference's.
fn spaced(item: &Item) -> serde_json::Result<String> {
    struct Spaced;
    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
            if first { Ok(()) } else { to.write_all(b", ") }
        }
        fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
            if first { Ok(()) } else { to.write_all(b", ") }
        }
        fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
            to.write_all(b": ")
        }
    }
    let mut text = Vec::new();
    item.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced))?;
    String::from_utf8(text).map_err(serde_json::Error::custom)
}

/// The current time as kernels write it.
pub(super) fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    civil(since.as_secs(), since.subsec_micros())
}

/// ISO 8601 of a time after 1970, by Howard Hinnant's `civil_from_days`: a calendar
/// library would be the largest thing in this binary for the sake of one string.
fn civil(seconds: u64, micros: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Appends JSON text with everything outside ASCII as `\uXXXX`. Right for whole
/// JSON texts, since only their strings can hold such characters.
pub(super) fn push_ascii(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !byte.is_ascii()) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let run = &rest[at..];
        let mut consumed = 0;
        for character in run.chars().take_while(|character| !character.is_ascii()) {
            consumed += character.len_utf8();
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a vector cannot fail.
                _ = write!(out, "\\u{unit:04x}");
            }
        }
        rest = &run[consumed..];
    }
    out.extend_from_slice(rest.as_bytes());
}

impl http_body::Body for LineBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = match self.queue.poll_recv(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some((line, _permit))) => line,
            Poll::Pending => match self.silence.as_mut().poll(cx) {
                Poll::Ready(()) => Bytes::from_static(b"{\"type\": \"keepalive\"}\n"),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.silence.as_mut().reset(Instant::now() + KEEPALIVE);
        Poll::Ready(Some(Ok(Frame::data(line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_outside_ascii_is_escaped() {
        for (text, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"b"}"#),
            ("\"é\"", "\"\\u00e9\""),
            ("\"😀x\u{2028}\"", "\"\\ud83d\\ude00x\\u2028\""),
            ("", ""),
        ] {
            let mut out = Vec::new();
            push_ascii(text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn items_are_written_as_the_reference_writes_them() {
        let failure = Failure { name: "E,:".to_owned(), value: "a\"b".to_owned(), traceback: String::new() };
        let text = spaced(&Item::Error(failure)).unwrap();
        assert_eq!(text, r#"{"type": "error", "name": "E,:", "value": "a\"b", "traceback": ""}"#);
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(civil(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(civil(951_827_696, 5), "2000-02-29T12:34:56.000005Z");
        assert_eq!(civil(1_795_219_199, 999_999), "2026-11-20T23:59:59.999999Z");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_every_five_seconds() {
        use http_body_util::BodyExt as _;
        let (writer, mut body) = lines();
        let begin = Instant::now();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&frame[..], b"{\"type\": \"keepalive\"}\n");
        assert_eq!(begin.elapsed().as_secs(), 5);
        writer.item(&Item::EndOfExecution).await.unwrap();
        drop(writer);
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&frame[..], b"{\"type\": \"end_of_execution\"}\n");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_client_holds_the_writer_back() {
        let (writer, body) = lines();
        let line = vec![b'x'; MAX_QUEUED as usize / 2];
        writer.line(line.clone()).await.unwrap();
        let blocked = tokio::time::timeout(std::time::Duration::from_millis(50), writer.line(line.clone()));
        assert!(blocked.await.is_err());
        drop(body);
        assert_eq!(writer.line(line).await, Err(Gone));
    }
}

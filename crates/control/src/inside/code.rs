//! Cells of the interpreter's default Python context.

use axum::body::Body;
use bytes::BytesMut;
use http::Request;
use http::header::CONTENT_TYPE;
use wire::control::INTERPRETER_PORT;
use wire::execute::{Display, Execute, Failure, Item};

use super::{Answer, Error, Inside};

/// Longest line of an answer; a picture is one line.
const LINE_LIMIT: usize = 96 << 20;

/// Longest text that is kept of each output stream.
const TEXT_LIMIT: usize = 16 << 20;

/// Displayed values that are kept, and their size together.
const DISPLAYS: usize = 200;
const DISPLAYS_SIZE: usize = 128 << 20;

/// What a cell left.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cell {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) displays: Vec<Display>,
    pub(crate) failure: Option<Failure>,
    pub(crate) number: Option<u64>,
    displays_size: usize,
}

impl Inside<'_> {
    /// Runs a cell to its end. Dropping the future interrupts it.
    pub(crate) async fn run_cell(&self, code: &str) -> Result<Cell, Error> {
        let body = serde_json::to_vec(&Execute { code: code.to_owned(), ..Execute::default() })
            .map_err(|e| Error::Malformed(e.to_string()))?;
        let request = Request::post("/execute")
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|e| Error::Malformed(e.to_string()))?;
        let answer = self.ask(INTERPRETER_PORT, request, None).await?;
        if !answer.status.is_success() {
            return Err(answer.failure().await);
        }
        let mut lines = Lines { answer, buffer: BytesMut::new() };
        let mut cell = Cell::default();
        while let Some(line) = lines.next().await? {
            let item = serde_json::from_slice(&line).map_err(|e| Error::Malformed(e.to_string()))?;
            if cell.take(item, line.len()) {
                return Ok(cell);
            }
        }
        Err(super::broken("the interpreter ended its answer before the code's end"))
    }
}

impl Cell {
    /// Puts one item where it belongs; `true` if it was the last.
    fn take(&mut self, item: Item, size: usize) -> bool {
        match item {
            Item::NumberOfExecutions { execution_count } => self.number = Some(execution_count),
            Item::Stdout(output) => keep(&mut self.stdout, &output.text),
            Item::Stderr(output) => keep(&mut self.stderr, &output.text),
            Item::Result(display) => {
                self.displays_size += size;
                if self.displays.len() < DISPLAYS && self.displays_size <= DISPLAYS_SIZE {
                    self.displays.push(*display);
                }
            }
            Item::Error(failure) => self.failure = Some(failure),
            Item::EndOfExecution => return true,
            Item::Keepalive | Item::Unknown => {}
        }
        false
    }
}

/// Appends, and says once where the rest was left out.
pub(super) fn keep(whole: &mut String, more: &str) {
    const LEFT_OUT: &str = "\n[the rest is left out: the output is longer than 16 MiB]\n";
    if whole.len() > TEXT_LIMIT {
        return;
    }
    let room = TEXT_LIMIT - whole.len();
    whole.push_str(&more[..more.floor_char_boundary(room)]);
    if more.len() > room {
        whole.push_str(LEFT_OUT);
    }
}

/// Lines of an answer.
struct Lines {
    answer: Answer,
    buffer: BytesMut,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<BytesMut>, Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.buffer.split_to(searched + at + 1)));
            }
            searched = self.buffer.len();
            if searched > LINE_LIMIT {
                return Err(Error::Malformed(format!("a line of more than {LINE_LIMIT} bytes")));
            }
            let Some(piece) = self.answer.piece().await? else { return Ok(None) };
            self.buffer.extend_from_slice(&piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_once_and_says_so() {
        let mut text = String::new();
        let piece = "é".repeat(1 << 20);
        for _ in 0..20 {
            keep(&mut text, &piece);
        }
        assert!(text.len() < TEXT_LIMIT + 100);
        assert_eq!(text.matches("is left out").count(), 1);
        let mut text = "x".to_owned();
        keep(&mut text, &"é".repeat(TEXT_LIMIT));
        keep(&mut text, "more");
        assert_eq!(text.matches("is left out").count(), 1);
        assert!(!text.contains("more"));
    }
}

//! `multipart/form-data`, cut into parts while it arrives.
//!
//! ```text
//! Preamble ──boundary──▶ Headers ──empty line──▶ Data ──boundary──▶ Headers | End
//! ```

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::query::decode;

/// Longest head of a part; file names are its largest piece.
const MAX_HEAD: usize = 16 << 10;
/// Longest boundary that RFC 2046 allows.
const MAX_BOUNDARY: usize = 70;

/// What comes next in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A part begins.
    Part(Part),
    /// A piece of its content.
    Data(Bytes),
    /// It is complete.
    PartEnd,
    /// There are no more parts; what follows is ignored.
    End,
}

/// The names of a part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The form field's.
    pub name: Option<String>,
    /// The file's, with its directories.
    pub filename: Option<String>,
}

/// The body is not what its type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The media type names no usable boundary.
    #[error("multipart body without a boundary")]
    NoBoundary,
    /// A part's head does not end.
    #[error("multipart part with a head of more than {MAX_HEAD} bytes")]
    LongHead,
    /// No boundary where one must be.
    #[error("malformed multipart body")]
    Boundary,
    /// The body ended in the middle.
    #[error("multipart body ended early")]
    Truncated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    AfterBoundary,
    Headers,
    Data,
    End,
}

/// Takes chunks of the body, gives items.
#[derive(Debug)]
pub struct Parser {
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

impl Parser {
    /// For a body of this `Content-Type`.
    pub fn new(content_type: &str) -> Result<Self, Malformed> {
        let boundary = parameter(content_type, "boundary").ok_or(Malformed::NoBoundary)?;
        if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
            return Err(Malformed::NoBoundary);
        }
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first boundary has no line before it; with one put there, all are alike.
        Ok(Self { delimiter, buffer: BytesMut::from(&b"\r\n"[..]), state: State::Preamble })
    }

    /// Adds a chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.state != State::End {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// The next item; `None` until more is pushed.
    pub fn next_item(&mut self) -> Result<Option<Item>, Malformed> {
        loop {
            match self.state {
                State::Preamble => {
                    let Some(at) = memmem::find(&self.buffer, &self.delimiter) else {
                        self.take_safe();
                        return Ok(None);
                    };
                    let _ = self.buffer.split_to(at + self.delimiter.len());
                    self.state = State::AfterBoundary;
                }
                State::AfterBoundary => match self.after_boundary()? {
                    Some(State::End) => return Ok(Some(Item::End)),
                    Some(_) => {}
                    None => return Ok(None),
                },
                State::Headers => return self.head(),
                State::Data => return Ok(self.data()),
                State::End => return Ok(None),
            }
        }
    }

    /// To be called at the end of the body.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.state == State::End { Ok(()) } else { Err(Malformed::Truncated) }
    }

    fn after_boundary(&mut self) -> Result<Option<State>, Malformed> {
        let blanks = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if blanks > MAX_HEAD {
            return Err(Malformed::Boundary);
        }
        let Some(mark) = self.buffer.get(blanks..blanks + 2) else { return Ok(None) };
        let next = match mark {
            b"--" => State::End,
            // The line's end stays: a head without lines ends at once.
            b"\r\n" => State::Headers,
            _ => return Err(Malformed::Boundary),
        };
        let _ = self.buffer.split_to(blanks);
        self.state = next;
        Ok(Some(next))
    }

    fn head(&mut self) -> Result<Option<Item>, Malformed> {
        let at = match memmem::find(&self.buffer, b"\r\n\r\n") {
            Some(at) if at <= MAX_HEAD => at,
            // Three bytes of its end may be there: the answer is the same however it comes in pieces.
            None if self.buffer.len() <= MAX_HEAD + 3 => return Ok(None),
            Some(_) | None => return Err(Malformed::LongHead),
        };
        let head = self.buffer.split_to(at + 4);
        self.state = State::Data;
        Ok(Some(Item::Part(part(&head))))
    }

    fn data(&mut self) -> Option<Item> {
        if let Some(at) = memmem::find(&self.buffer, &self.delimiter) {
            if at > 0 {
                return Some(Item::Data(self.buffer.split_to(at).freeze()));
            }
            let _ = self.buffer.split_to(self.delimiter.len());
            self.state = State::AfterBoundary;
            return Some(Item::PartEnd);
        }
        self.take_safe().map(Item::Data)
    }

    /// Takes what cannot be the beginning of a boundary.
    fn take_safe(&mut self) -> Option<Bytes> {
        let safe = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
        (safe > 0).then(|| self.buffer.split_to(safe).freeze())
    }
}

fn part(head: &[u8]) -> Part {
    let head = String::from_utf8_lossy(head);
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let Some(disposition) = disposition else { return Part::default() };
    let filename = parameter(disposition, "filename*").and_then(|value| extended(&value));
    Part {
        name: parameter(disposition, "name"),
        filename: filename.or_else(|| parameter(disposition, "filename").map(|name| unescape(&name))),
    }
}

/// A parameter of a header value: a token or a quoted string.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let (_, mut rest) = value.split_once(';')?;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (found, after) = value_of(after.trim_start());
        if name.trim().trim_start_matches(';').trim().eq_ignore_ascii_case(wanted) {
            return Some(found);
        }
        rest = after;
    }
}

/// The value at the start of `text` and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            // Only these two are escapes: other backslashes belong to the name.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// Browsers and HTTP libraries write quotes and line ends in file names like this.
fn unescape(name: &str) -> String {
    name.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n")
}

/// `utf-8''percent%20encoded`.
fn extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, encoded) = rest.split_once('\'')?;
    charset.eq_ignore_ascii_case("utf-8").then(|| decode(&encoded.replace('+', "%2B")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"xYz\"";

    fn items(body: &[u8], cut: usize) -> Result<Vec<Item>, Malformed> {
        let mut parser = Parser::new(TYPE)?;
        let mut items: Vec<Item> = Vec::new();
        for chunk in body.chunks(cut) {
            parser.push(chunk);
            while let Some(item) = parser.next_item()? {
                match (items.last_mut(), item) {
                    (Some(Item::Data(before)), Item::Data(more)) => {
                        *before = [&before[..], &more[..]].concat().into();
                    }
                    (_, item) => items.push(item),
                }
            }
        }
        parser.finish()?;
        Ok(items)
    }

    #[test]
    fn any_cut_gives_the_same_parts() {
        let body = b"preamble\r\n--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"/a/b c.txt\"\r\n\
            Content-Type: x\r\n\r\nhe\r\n--xY\r\nllo\r\n--xYz  \r\ncontent-disposition: form-data; name=other\r\n\r\n\r\n\
            --xYz--\r\nepilogue";
        let part = |name: &str, filename: Option<&str>| {
            Item::Part(Part { name: Some(name.into()), filename: filename.map(Into::into) })
        };
        let wanted = [
            part("file", Some("/a/b c.txt")),
            Item::Data(Bytes::from_static(b"he\r\n--xY\r\nllo")),
            Item::PartEnd,
            part("other", None),
            Item::PartEnd,
            Item::End,
        ];
        for cut in 1..body.len() {
            assert_eq!(items(body, cut).unwrap(), wanted, "cut into {cut}");
        }
    }

    proptest! {
        #[test]
        fn strangers_bytes_are_cut_alike_however_they_arrive(
            body in r#"((--xYz|\r\n|--|xYz|content-disposition: form-data; |name=file|filename="a%22/b\\"|;|"|=|x| ){0,24})"#,
            cut in 1usize..9,
        ) {
            prop_assert_eq!(items(body.as_bytes(), cut), items(body.as_bytes(), body.len().max(1)));
        }

        #[test]
        fn any_head_of_a_part_is_read(head in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            part(format!("content-disposition: form-data; {head}").as_bytes());
            part(&bytes);
        }
    }

    #[test]
    fn names_with_quotes_and_other_letters() {
        let of = |head: &str| part(head.as_bytes()).filename;
        assert_eq!(
            of("Content-Disposition: form-data; name=\"file\"; filename=\"a%22b\\\"c\\d\""),
            Some("a\"b\"c\\d".into())
        );
        assert_eq!(
            of("content-disposition: form-data; filename=plain.txt; name=x"),
            Some("plain.txt".into())
        );
        assert_eq!(of("Content-Disposition: form-data; filename*=UTF-8''%C3%A9+x"), Some("é+x".into()));
        assert_eq!(of("Content-Disposition: form-data; name=\"a; filename=b\""), None);
        assert_eq!(of("Other: x"), None);
    }

    #[test]
    fn malformed_bodies_are_refused() {
        assert_eq!(items(b"--xYz\r\n", 3), Err(Malformed::Truncated));
        assert_eq!(items(b"--xYz??", 3), Err(Malformed::Boundary));
        assert_eq!(items(&[b"--xYz\r\n", &vec![b'a'; 20_000][..]].concat(), 999), Err(Malformed::LongHead));
        assert!(matches!(Parser::new("multipart/form-data"), Err(Malformed::NoBoundary)));
    }
}

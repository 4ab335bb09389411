//! Each reader of bytes of strangers, with what must hold of it whatever comes.
//!
//! Shared by the tests, which replay the seeds, and by the targets of `fuzz/`,
//! which look for more of them.
#![allow(dead_code, reason = "each target of the fuzzer uses one of them")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use warren_wire::connect::envelope::{Decoder, HEADER_LEN, encode};
use warren_wire::connect::{Codec, Message};
use warren_wire::files::{Operation, SignedUrl};
use warren_wire::multipart::{Item, Malformed, Parser};
use warren_wire::query::Query;
use warren_wire::{filesystem, process};

/// Longest message that the envelopes may hold here.
const LIMIT: usize = 64;

/// Cuts a stream into envelopes, piece by piece.
pub(crate) fn envelopes(bytes: &[u8], cut: usize) {
    let mut decoder = Decoder::new(LIMIT);
    let mut again = Vec::new();
    for piece in bytes.chunks(cut.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_envelope() {
                Ok(Some(envelope)) => {
                    assert!(envelope.payload.len() <= LIMIT);
                    again.extend_from_slice(&encode(envelope.flags, &envelope.payload));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(bytes.starts_with(&again));
    let rest = bytes.len() - again.len();
    assert!(rest < HEADER_LEN + LIMIT);
    assert_eq!(decoder.finish().is_ok(), rest == 0);
}

/// Reads one kind of message; what was read survives either codec.
fn message<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    for codec in Codec::ALL {
        if let Ok(read) = M::decode(codec, bytes) {
            for codec in Codec::ALL {
                assert_eq!(M::decode(codec, &read.encode(codec)).unwrap(), read, "{codec:?}");
            }
        }
    }
}

/// Reads every kind of message, in both codecs.
pub(crate) fn messages(bytes: &[u8]) {
    message::<process::StartRequest>(bytes);
    message::<process::ConnectRequest>(bytes);
    message::<process::UpdateRequest>(bytes);
    message::<process::SendInputRequest>(bytes);
    message::<process::StreamInputRequest>(bytes);
    message::<process::SendSignalRequest>(bytes);
    message::<process::ListResponse>(bytes);
    message::<process::StreamResponse>(bytes);
    message::<filesystem::PathRequest>(bytes);
    message::<filesystem::MoveRequest>(bytes);
    message::<filesystem::ListDirRequest>(bytes);
    message::<filesystem::WatchRequest>(bytes);
    message::<filesystem::WatcherId>(bytes);
}

/// Reads the query of a signed address; none of them opens anything.
pub(crate) fn query(text: &str) {
    let query = Query::parse(Some(text));
    for operation in [Operation::Read, Operation::Write] {
        if let Ok(Some(url)) = SignedUrl::of(&query, operation) {
            assert!(!url.is_opened_by("a token that signed nothing"));
        }
    }
}

/// Cuts a body into parts: alike however it arrives. The first line is its type.
pub(crate) fn multipart(bytes: &[u8], cut: usize) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (line, body) = bytes.split_at(end);
    let media = format!("multipart/form-data; {}", String::from_utf8_lossy(line));
    for media in [media.as_str(), "multipart/form-data; boundary=xYz"] {
        assert_eq!(parts(media, body, cut), parts(media, body, body.len()), "{media}");
    }
}

fn parts(media: &str, body: &[u8], cut: usize) -> Result<Vec<Item>, Malformed> {
    let mut parser = Parser::new(media)?;
    let mut items: Vec<Item> = Vec::new();
    for chunk in body.chunks(cut.max(1)) {
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

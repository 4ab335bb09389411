//! Bytes of strangers: whatever comes, the readers neither panic nor go beyond
//! their limits, and what they accept they give back unchanged.
//!
//! `tests/seeds` holds inputs that are worth trying always: captured ones, and
//! what once was or might be trouble. Every seed goes through every reader.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use proptest::prelude::*;
use warren_wire::connect::envelope::{Decoder, HEADER_LEN, encode};
use warren_wire::connect::{Codec, Message};
use warren_wire::files::{Operation, SignedUrl};
use warren_wire::query::{Query, decode};
use warren_wire::{filesystem, process};

const LIMIT: usize = 64;

/// Cuts a stream into envelopes, piece by piece.
fn envelopes(bytes: &[u8], cut: usize) {
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

fn messages(bytes: &[u8]) {
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

fn query(text: &str) {
    let query = Query::parse(Some(text));
    for operation in [Operation::Read, Operation::Write] {
        if let Ok(Some(url)) = SignedUrl::of(&query, operation) {
            assert!(!url.is_opened_by("a token that signed nothing"));
        }
    }
}

fn every_reader(bytes: &[u8]) {
    for cut in [1, 3, bytes.len()] {
        envelopes(bytes, cut);
    }
    messages(bytes);
    query(&String::from_utf8_lossy(bytes));
}

#[test]
fn seeds() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut n_seeds = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        every_reader(&bytes);
        // Broken off anywhere, and with any one byte changed.
        for at in 0..bytes.len() {
            every_reader(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            every_reader(&changed);
        }
        n_seeds += 1;
    }
    assert!(n_seeds >= 15, "{n_seeds} seeds");
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        every_reader(&bytes);
    }

    #[test]
    fn anything_like_a_request(text in r#"\{"(process|input|path|event|start|data|signal|pid|tag|stdin)":(null|[0-9]{1,12}|"[-_A-Za-z0-9+/=]{0,9}"|\{\}|\[\]|\{"(pid|tag|stdin|pty|cmd|size)":("?[0-9]{0,5}"?|null)\})\}"#) {
        every_reader(text.as_bytes());
    }

    #[test]
    fn what_is_escaped_comes_back(text in ".*") {
        let escaped: Vec<String> = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        prop_assert_eq!(decode(&escaped.concat()), text);
    }
}

//! Bytes of strangers: whatever comes, the readers neither panic nor go beyond
//! their limits, and what they accept they give back unchanged.
//!
//! `tests/seeds` holds inputs that are worth trying always: captured ones, and
//! what once was or might be trouble. Every seed goes through every reader. The
//! targets of `fuzz/` start from them; what those find is kept there.

mod readers;

use proptest::prelude::*;
use readers::{envelopes, messages, multipart, query};
use warren_wire::query::decode;

fn every_reader(bytes: &[u8]) {
    for cut in [1, 3, bytes.len()] {
        envelopes(bytes, cut);
        multipart(bytes, cut);
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

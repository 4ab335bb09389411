//! Layers of strangers: whatever comes, the reader does not panic, writes nowhere
//! else, and keeps its bounds.
//!
//! `tests/seeds` holds archives that are worth trying always. The target `layer` of
//! `fuzz/` starts from them; what it finds is kept there.

mod layers;

use layers::layer;
use proptest::prelude::*;

/// Whether this process may give files to others.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        testkit::skip("unpacking a layer needs root");
    }
    root
}

#[test]
fn seeds() {
    if !is_root() {
        return;
    }
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut n_seeds = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        layer(&bytes);
        // Broken off at many places, and with one byte changed at as many.
        for at in (0..bytes.len()).step_by(bytes.len() / 60 + 1) {
            layer(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            layer(&changed);
        }
        n_seeds += 1;
    }
    assert!(n_seeds >= 8, "{n_seeds} seeds");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        if is_root() {
            layer(&bytes);
        }
    }
}

//! Layers of images: archives, plain or compressed. Run as root.
#![no_main]

#[path = "../../crates/node/tests/layers/mod.rs"]
mod layers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| layers::layer(bytes));

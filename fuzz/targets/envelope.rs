//! Streams, cut into envelopes.
#![no_main]

#[path = "../../crates/wire/tests/readers/mod.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.first().map_or(1, |first| usize::from(*first) % 16);
    readers::envelopes(bytes, cut);
});

//! Bodies of uploads and the names in their heads.
#![no_main]

#[path = "../../crates/wire/tests/readers/mod.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.last().map_or(1, |last| usize::from(*last) % 16);
    readers::multipart(bytes, cut);
});

//! Messages of both services, in both codecs.
#![no_main]

#[path = "../../crates/wire/tests/readers/mod.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::messages(bytes);
});

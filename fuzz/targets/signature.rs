//! Queries of signed addresses.
#![no_main]

#[path = "../../crates/wire/tests/readers/mod.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::query(&String::from_utf8_lossy(bytes));
});

//! The one entry point for people who build.
fn main() {}

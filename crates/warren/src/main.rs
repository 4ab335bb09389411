//! The one host binary.
fn main() {}

//! The interpreter against a real ipykernel, over HTTP.
//!
//! But for the bounds, it runs where `WARREN_TEST_PYTHON` names a Python that has the template's
//! packages, as `cargo xtask test` makes one; elsewhere each test says that it was skipped.

#![expect(clippy::unwrap_used, reason = "the harness is test code too")]

mod bounds;
mod cells;
mod contexts;
mod harness;
#[path = "../../../testkit/src/skip.rs"]
#[expect(unreachable_pub, reason = "the test kit shows it, of which these tests need nothing else")]
mod skip;
mod trouble;

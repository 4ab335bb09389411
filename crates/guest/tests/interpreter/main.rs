//! The interpreter against a real ipykernel, over HTTP.
//!
//! But for the bounds, it runs where `WARREN_TEST_PYTHON` names a Python that has the template's
//! packages; elsewhere each test says that it was skipped.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the harness is test code too, and a skipped test says so where it is seen"
)]

mod bounds;
mod cells;
mod contexts;
mod harness;
mod trouble;

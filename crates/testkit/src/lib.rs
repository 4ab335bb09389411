//! A whole system in one process, for tests.
//!
//! [`System`] holds what outlives a server: the simulated world and the state
//! directory. [`System::restart`] and [`System::crash`] replace the server; the
//! sandboxes run on.

mod system;

pub use system::{BASE, CODE_INTERPRETER, System};

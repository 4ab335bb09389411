//! What several crates' tests stand on.
//!
//! [`Ground`] is a host for real machines, made for one test.
//! [`Script`] is what goes wrong in a node.
//! [`skip()`] says that a test cannot run here.
//! [`System`] holds what outlives a server: the simulated world and the state
//! directory. [`System::restart`] and [`System::crash`] replace the server; the
//! sandboxes run on.

mod ground;
mod script;
mod skip;
mod system;

pub use ground::Ground;
pub use script::Script;
pub use skip::skip;
pub use system::{BASE, CODE_INTERPRETER, System};

//! Carries client bytes to the right port of the right sandbox.
//!
//! The data path is: accept → target from host name or headers → memory lookup
//! through [`Resolve`] → dial → copy. It never asks the control plane or a
//! database, and it knows a sandbox only as a [`Route`].

mod body;
mod client;
mod connection;
mod counts;
mod forward;
mod headers;
mod internal;
mod options;
mod preflight;
mod reply;
mod route;
mod serve;
mod signed;
pub mod target;
mod tls;
mod tunnel;
mod upstream;

pub use counts::Counts;
pub use options::ProxyOptions;
pub use route::{BoxFuture, Connection, Dial, DialError, Lookup, Resolve, Route};
pub use serve::Proxy;
pub use target::{Hosts, Target};
pub use tls::Tls;

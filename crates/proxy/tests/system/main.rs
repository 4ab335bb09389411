//! The proxy between real sockets: a client on one side, a server that stands
//! for a sandbox's port on the other.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod carry;
mod end;
mod pool;
mod tls;
mod world;

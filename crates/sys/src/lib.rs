//! Safe, typed wrappers over the kernel calls we use; the only crate with unsafe code.

pub mod btrfs;
pub mod clone;
pub mod exec;
pub mod loopdev;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod reflink;
pub mod seccomp;
pub mod signal;
pub mod wait;

#[cfg(test)]
#[path = "../../testkit/src/skip.rs"]
#[expect(unreachable_pub, reason = "the test kit shows it, of which these tests need nothing else")]
mod skip;

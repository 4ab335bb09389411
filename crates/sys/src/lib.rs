//! Safe, typed wrappers over the kernel calls we use; the only crate with unsafe code.

pub mod exec;
pub mod btrfs;
pub mod loopdev;
pub mod netlink;

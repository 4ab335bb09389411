//! Safe, typed wrappers over the kernel calls we use; the only crate with unsafe code.

//! Where things are: the working copy, the build output, and the directory in
//! which this tool keeps what it downloads and runs.

use std::path::{Path, PathBuf};

/// The root of the working copy.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies below the root").to_owned()
}

/// Cargo's output directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Virtual environments, Node.js, test results.
pub(crate) fn tools() -> PathBuf {
    target().join("xtask")
}

/// State of the servers that tests start; templates in it are built once.
pub(crate) fn state() -> PathBuf {
    std::env::var_os("WARREN_STATE_DIR").map_or_else(|| target().join("warren-state"), PathBuf::from)
}

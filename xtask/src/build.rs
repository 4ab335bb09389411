//! Builds the server. Its build script builds the guest and puts it inside.

use std::path::PathBuf;

use crate::command::{cargo, run, say};

/// Builds `warren` and says where it is.
pub(crate) fn warren() -> anyhow::Result<PathBuf> {
    say("Building warren");
    run(cargo().args(["build", "--release", "--package", "warren"]))?;
    Ok(crate::repo::target().join("release/warren"))
}

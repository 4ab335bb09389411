//! The official clients, each in an environment of its own below `target/`.

pub(crate) mod node;
pub(crate) mod python;

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Makes a directory with `fill` unless it already holds exactly `wanted`. The
/// stamp is written last, so a broken attempt is made again.
fn once(dir: &Path, wanted: &str, fill: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let stamp = dir.join(".warren-stamp");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    fill()?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

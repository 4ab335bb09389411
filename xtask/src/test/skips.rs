//! What Rust tests say of themselves when they cannot run on this machine. Their harness
//! knows no such thing: it counts them as passed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Names the file to the tests; `testkit::skip` writes it.
pub(super) const VARIABLE: &str = "WARREN_SKIPS";

/// The file of one run.
#[derive(Debug)]
pub(super) struct Skips {
    file: PathBuf,
}

impl Skips {
    /// Empties what an earlier run left.
    pub(super) fn new() -> anyhow::Result<Self> {
        let dir = crate::repo::tools();
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let file = dir.join("rust-skips");
        fs::write(&file, "").with_context(|| format!("empty {}", file.display()))?;
        Ok(Self { file })
    }

    /// Where the tests are to write.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Prints each test that was skipped; how many there are.
    pub(super) fn tell(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(&self.file).with_context(|| format!("read {}", self.file.display()))?;
        let skips = read(&text)?;
        for (test, reason) in &skips {
            println!("    SKIPPED: {test}: {reason}");
        }
        Ok(skips.len() as u64)
    }
}

/// The tests and their reasons. One that asks many times, as those with random input do,
/// says it each time.
fn read(text: &str) -> anyhow::Result<BTreeMap<&str, &str>> {
    text.lines()
        .map(|line| line.split_once(": ").with_context(|| format!("a skip is no `test: reason`: {line}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_counts_once_with_its_whole_reason() {
        let text = "contract namespaces::keep_memory: checkpoints: no tool\n\
                    hostile_layers any_bytes: needs root\n\
                    hostile_layers any_bytes: needs root\n";
        let wanted = [
            ("contract namespaces::keep_memory", "checkpoints: no tool"),
            ("hostile_layers any_bytes", "needs root"),
        ];
        assert_eq!(read(text).unwrap(), BTreeMap::from(wanted));
        assert!(read("").unwrap().is_empty());
        assert!(read("half a li").unwrap_err().to_string().contains("half a li"));
    }
}

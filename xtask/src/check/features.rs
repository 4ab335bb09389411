//! The table of features names a test for each client, or says why there is none.

use std::fs;

use anyhow::{Context as _, bail};

use crate::repo;

const TABLE: &str = "docs/reference/features.md";
/// Rows that must be there: what concerns the daemon and the interpreter.
const ROWS: std::ops::RangeInclusive<u32> = 1..=63;

/// Looks up every test that the table names.
pub(super) fn check() -> anyhow::Result<()> {
    let text = fs::read_to_string(repo::root().join(TABLE)).with_context(|| format!("read {TABLE}"))?;
    let mut seen = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(row) = cells.first().and_then(|first| first.parse::<u32>().ok()) else { continue };
        let [_, _, tests @ .., reason] = &cells[..] else { bail!("row {row} has no columns") };
        for test in tests {
            look_up(test, reason).with_context(|| format!("row {row} of {TABLE}"))?;
        }
        seen.push(row);
    }
    let missing: Vec<u32> = ROWS.filter(|row| !seen.contains(row)).collect();
    anyhow::ensure!(missing.is_empty(), "{TABLE} lacks the rows {missing:?}");
    Ok(())
}

/// `` `file` name `` is there, or the reason why nothing is.
fn look_up(test: &str, reason: &str) -> anyhow::Result<()> {
    if test == "–" {
        anyhow::ensure!(!reason.trim_end_matches('|').trim().is_empty(), "no test and no reason");
        return Ok(());
    }
    let (file, name) = test.trim_start_matches('`').split_once("` ").context("`file` and a name")?;
    let source = fs::read_to_string(repo::root().join(file)).with_context(|| format!("read {file}"))?;
    let forms = [format!("def {name}("), format!("test('{name}'"), format!("test({name},")];
    anyhow::ensure!(forms.iter().any(|form| source.contains(form)), "{file} has no test {name:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::look_up;

    #[test]
    fn tests_that_are_not_there_and_gaps_without_a_reason_are_refused() {
        assert!(look_up("`tests/js/cells.test.mjs` cell.name", "").is_ok());
        assert!(look_up("`tests/js/cells.test.mjs` nothing like it", "").is_err());
        assert!(look_up("`tests/js/none.mjs` x", "").is_err());
        assert!(look_up("–", "").is_err());
        assert!(look_up("–", "no such call").is_ok());
    }
}

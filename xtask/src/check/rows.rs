//! Holds that every row of the protocol's feature table that is about the
//! control plane, templates or states that are kept is named by a test: `Row: A1, A2`
//! in its text.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Groups of rows, and how many each has.
const ROWS: &[(&str, u32)] = &[
    ("A", 5),
    ("C", 12),
    ("L", 12),
    ("P", 10),
    ("F", 2),
    ("S", 4),
    ("M", 2),
    ("E", 2),
    ("R", 2),
    ("D", 3),
    ("T", 17),
];

/// One row of a group that is others' but for this.
const MORE: &[&str] = &["X2"];

/// Rows without a test, and why.
const WITHOUT: &[(&str, &str)] = &[
    (
        "A3",
        "`allowPublicTraffic: false` belongs to the network policy; until then a create with it answers 501",
    ),
    ("C10", "every template gets this server's own daemon, which is newer than the client demands"),
];

/// Where tests are.
const PLACES: &[&str] = &["tests", "crates"];

/// Compares what is named with what there is.
pub(super) fn check() -> anyhow::Result<()> {
    let mut named = BTreeSet::new();
    for place in PLACES {
        collect(&crate::repo::root().join(place), &mut named)?;
    }
    let all = ROWS.iter().flat_map(|(group, count)| (1..=*count).map(move |n| format!("{group}{n}")));
    let all: BTreeSet<String> = all.chain(MORE.iter().map(|row| (*row).to_owned())).collect();
    let without = |row: &str| WITHOUT.iter().any(|(name, _)| *name == row);
    let missing: Vec<&String> = all.iter().filter(|row| !named.contains(*row) && !without(row)).collect();
    anyhow::ensure!(missing.is_empty(), "no test names these rows of the feature table: {missing:?}");
    let surplus: Vec<_> = WITHOUT.iter().filter(|(row, _)| named.contains(*row)).collect();
    anyhow::ensure!(surplus.is_empty(), "these rows have a test and are listed without one: {surplus:?}");
    Ok(())
}

fn collect(dir: &Path, named: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if path.is_dir() {
            collect(&path, named)?;
        } else if ["py", "mjs", "rs"].contains(&kind) {
            // What is not text names nothing.
            rows_of(&fs::read_to_string(&path).unwrap_or_default(), named);
        }
    }
    Ok(())
}

fn rows_of(text: &str, named: &mut BTreeSet<String>) {
    for line in text.lines() {
        let Some((_, rest)) = line.split_once("Row: ") else { continue };
        let is_row = |word: &&str| {
            word.starts_with(|c: char| c.is_ascii_uppercase()) && word[1..].parse::<u32>().is_ok()
        };
        let rest = rest.split(['.', '"']).next().unwrap_or_default();
        named.extend(rest.split(", ").map(str::trim).filter(is_row).map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rows() {
        let mut named = BTreeSet::new();
        rows_of("x\n    \"\"\"Row: C1, C12. The defaults\"\"\"\n// Row: L3\nRow: none", &mut named);
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["C1", "C12", "L3"]);
    }
}

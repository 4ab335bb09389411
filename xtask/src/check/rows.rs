//! Holds `docs/reference/rows.md`, the table of what official clients do: every
//! row says which files of tests name it (`Row: A1, A2` in their text), or why
//! none does, and no test names a row that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::repo;

const TABLE: &str = "docs/reference/rows.md";

/// Where tests are.
const PLACES: &[&str] = &["tests", "crates"];

/// How the last column begins where no test names the row.
const NONE: &str = "none: ";

/// Names of rows, and the files that name each.
type Named = BTreeMap<String, BTreeSet<String>>;

/// Compares what the table says with what the tests do.
pub(super) fn check() -> anyhow::Result<()> {
    let table = fs::read_to_string(repo::root().join(TABLE)).with_context(|| format!("read {TABLE}"))?;
    let mut named = Named::new();
    for place in PLACES {
        collect(&repo::root().join(place), &mut named)?;
    }
    let wrong = faults(&rows_of_table(&table)?, &named);
    anyhow::ensure!(wrong.is_empty(), "{TABLE} is not what the tests say:\n{}", wrong.join("\n"));
    Ok(())
}

/// The last column of each row, by the row's name.
fn rows_of_table(table: &str) -> anyhow::Result<BTreeMap<&str, &str>> {
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            ["row" | "---", ..] => {}
            [name, what, tests] if is_row(name) && !what.is_empty() => {
                anyhow::ensure!(rows.insert(name, tests).is_none(), "{TABLE} has the row {name} twice");
            }
            _ => anyhow::bail!("{TABLE}: this is no row, with a name, what it is and its tests: {line}"),
        }
    }
    Ok(rows)
}

/// A sentence for each row that is not as it should be.
fn faults(rows: &BTreeMap<&str, &str>, named: &Named) -> Vec<String> {
    let of_table = rows.iter().filter_map(|(row, told)| match (named.get(*row), told.strip_prefix(NONE)) {
        (None, Some(_)) => None,
        (None, None) => {
            Some(format!("{row}: no test names it; give it one, or say why there is none: `{NONE}…`"))
        }
        (Some(files), Some(_)) => {
            Some(format!("{row}: it says why no test names it, but they do: {}", column(files)))
        }
        (Some(files), None) => {
            let wanted = column(files);
            (*told != wanted).then(|| format!("{row}: its tests should be: {wanted}"))
        }
    });
    let unknown = named.iter().filter(|(row, _)| !rows.contains_key(row.as_str()));
    of_table
        .chain(unknown.map(|(row, files)| format!("{row}: not in the table: {}", column(files))))
        .collect()
}

/// The last column of a row that these files name.
fn column(files: &BTreeSet<String>) -> String {
    files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ")
}

fn collect(dir: &Path, named: &mut Named) -> anyhow::Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if path.is_dir() {
            collect(&path, named)?;
        } else if ["py", "mjs", "rs"].contains(&kind) {
            let file = path.strip_prefix(repo::root()).unwrap_or(&path).display().to_string();
            // What is not text names nothing.
            for row in rows_of_test(&fs::read_to_string(&path).unwrap_or_default()) {
                named.entry(row.to_owned()).or_default().insert(file.clone());
            }
        }
    }
    Ok(())
}

fn rows_of_test(text: &str) -> impl Iterator<Item = &str> {
    let lists = text.lines().filter_map(|line| line.split_once("Row: "));
    let lists = lists.map(|(_, rest)| rest.split(['.', '"']).next().unwrap_or_default());
    lists.flat_map(|list| list.split(", ").map(str::trim)).filter(|word| is_row(word))
}

/// A group's letter and a number.
fn is_row(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase()) && word[1..].parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_rows_of_a_test() {
        let text = "x\n    \"\"\"Row: C1, C12. The defaults\"\"\"\n// Row: L3\nRow: none";
        assert_eq!(rows_of_test(text).collect::<Vec<_>>(), ["C1", "C12", "L3"]);
    }

    #[test]
    fn reads_the_rows_of_the_table() {
        let head = "# Text\n\n| row | what | tests |\n|---|---|---|\n";
        let table = format!("{head}| C1 | a create | `a.py`, `b.py` |\n");
        assert_eq!(rows_of_table(&table).unwrap(), [("C1", "`a.py`, `b.py`")].into());
        for wrong in ["| C | a | b |", "| C1 | a |", "| C1 | | b |", "| C1 | a | b |\n| C1 | a | b |"] {
            assert!(rows_of_table(&format!("{head}{wrong}\n")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tells_each_row_that_is_not_as_it_should_be() {
        let rows = [
            ("A1", "`a.py`, `b.py`"),
            ("A2", "none: cannot be"),
            ("A3", ""),
            ("A4", "none: x"),
            ("A5", "`b.py`"),
        ];
        let files = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<BTreeSet<_>>();
        let named = [
            ("A1", files(&["b.py", "a.py"])),
            ("A4", files(&["a.py"])),
            ("A5", files(&["a.py"])),
            ("B1", files(&["a.py"])),
        ];
        let named = named.into_iter().map(|(row, files)| (row.to_owned(), files)).collect();
        let found = faults(&rows.into(), &named);
        let starts = [
            "A3: no test names it",
            "A4: it says why no",
            "A5: its tests should be: `a.py`",
            "B1: not in the table",
        ];
        assert_eq!(found.len(), starts.len(), "{found:?}");
        assert!(found.iter().zip(starts).all(|(fault, start)| fault.starts_with(start)), "{found:?}");
    }

    #[test]
    fn the_table_is_what_the_tests_say() {
        check().unwrap();
    }
}

//! Holds `docs/reference/sdk-parity.md`: what it names exists, and no public
//! method of a handle is missing there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Types whose methods act; options and records are read with them.
const HANDLES: &[&str] = &[
    "Sandbox",
    "ScopedSandbox",
    "Commands",
    "CommandHandle",
    "Pty",
    "Files",
    "Watch",
    "Git",
    "Contexts",
    "Template",
    "Volume",
    "Secret",
    "SandboxManager",
    "ResourceMonitor",
    "Process",
    "LongRunningService",
    "SandboxPool",
    "PooledSandbox",
    "Paginator",
];

fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            sources(&entry.path(), text);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// `Type::method` of every public method in an `impl` block of a handle.
fn methods(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut handle = None;
    for line in source.lines() {
        if line == "}" {
            handle = None;
        }
        if line.starts_with("impl") && !line.contains(" for ") {
            let name = line.trim_start_matches("impl").trim_start();
            let name =
                if name.starts_with('<') { name.split_once("> ").map_or("", |(_, rest)| rest) } else { name };
            let name = name.split(['<', ' ']).next().unwrap_or_default();
            handle = HANDLES.iter().find(|known| **known == name);
        }
        let line = line.trim_start();
        let method = line.strip_prefix("pub async fn ").or_else(|| line.strip_prefix("pub fn "));
        if let (Some(handle), Some(method)) = (handle, method) {
            found.insert(format!("{handle}::{}", method.split(['(', '<']).next().unwrap_or_default()));
        }
    }
    found
}

#[test]
fn parity() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../../docs/reference/sdk-parity.md")).unwrap();
    let (mut source, mut tests) = (String::new(), String::new());
    sources(&root.join("src"), &mut source);
    sources(&root.join("tests"), &mut tests);
    sources(&root.join("examples"), &mut tests);
    tests.push_str(&source);
    let methods = methods(&source);

    let rows = page.lines().filter(|line| line.starts_with("| `"));
    for row in rows {
        let test = row.trim_end_matches(" |").rsplit('`').nth(1).unwrap();
        assert!(tests.contains(&format!("fn {test}(")), "no test is called {test}: {row}");
    }
    let words: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let named: BTreeSet<&str> = words
        .iter()
        .copied()
        .filter(|word| {
            word.split_once("::")
                .is_some_and(|(handle, method)| HANDLES.contains(&handle) && !method.contains(' '))
        })
        .collect();
    for name in &named {
        assert!(methods.contains(*name), "{name} is on the page and not in the library");
    }
    for method in &methods {
        assert!(named.contains(method.as_str()), "{method} is in the library and not on the page");
    }
}

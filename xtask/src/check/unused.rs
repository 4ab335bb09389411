//! Dependencies that no source file mentions. A text search, like the well-known
//! tools for this: it may overlook one, it never needs a build.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::table::{Metadata, Package};

/// Refuses a dependency whose name occurs in no source file of its crate.
pub(super) fn check() -> anyhow::Result<()> {
    let mut unused = Vec::new();
    for package in Metadata::read()?.members() {
        unused.extend(in_package(package)?);
    }
    if !unused.is_empty() {
        bail!("remove {}", unused.join(", "));
    }
    Ok(())
}

fn in_package(package: &Package) -> anyhow::Result<Vec<String>> {
    let dir = package.manifest_path.parent().context("a manifest lies in a directory")?;
    let mut source = String::new();
    for name in ["src", "tests", "benches", "examples", "build.rs"] {
        collect(&dir.join(name), &mut source)?;
    }
    let manifest = fs::read_to_string(&package.manifest_path).context("read a manifest")?;
    Ok(package
        .dependencies
        .iter()
        .map(|dependency| dependency.rename.as_ref().unwrap_or(&dependency.name))
        .filter(|name| !mentions(&source, &name.replace('-', "_")) && !excused(&manifest, name))
        .map(|name| format!("{name} from {}", package.name))
        .collect())
}

/// A dependency that only turns a feature of another one on says so in its line:
/// `# feature of …`.
fn excused(manifest: &str, name: &str) -> bool {
    manifest.lines().any(|line| line.starts_with(name) && line.contains("# feature of "))
}

fn collect(path: &Path, into: &mut String) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            collect(&entry.context("list a directory")?.path(), into)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
        into.push_str(&fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(())
}

/// Whether the identifier occurs as a word: `use name`, `name::`, `#[name(…)]`.
fn mentions(source: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    source
        .match_indices(name)
        .any(|(at, _)| !source[..at].ends_with(is_word) && !source[at + name.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn finds_whole_words_only() {
        assert!(mentions("use http::Uri;", "http"));
        assert!(!mentions("use http_body::Body;", "http"));
        assert!(!mentions("fn xhttp() {}", "http"));
    }
}

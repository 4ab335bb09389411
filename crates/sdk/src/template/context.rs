//! The files that a template copies: found, named by a hash, packed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::Template;
use crate::{Error, ErrorKind};

/// The files of one copy step.
#[derive(Debug)]
pub(super) struct Collected {
    /// Names them to the server: the same files have the same hash.
    pub(super) hash: String,
    /// Paths relative to the context, in order.
    files: Vec<PathBuf>,
    resolve: bool,
    pub(super) force_upload: bool,
}

impl Template {
    /// The files of every copy step, by the step's place.
    pub(super) fn collect(&self) -> Result<BTreeMap<usize, Collected>, Error> {
        let copies =
            self.steps.iter().enumerate().filter_map(|(at, step)| Some((at, step, step.copy.as_ref()?)));
        let ignore = self.ignored()?;
        copies
            .map(|(at, step, options)| {
                let source = relative(&step.args[0])?;
                let mut files = Vec::new();
                for path in expand(&self.context, &source)? {
                    walk(&self.context, &path, &ignore, &mut files)?;
                }
                if files.is_empty() {
                    let text =
                        format!("there is nothing to copy at {} in {}", step.args[0], self.context.display());
                    return Err(Error::new(ErrorKind::FileUpload, text));
                }
                files.sort();
                let hash = hash(&self.context, &step.args, &files, options.resolve_symlinks)?;
                let (resolve, force_upload) = (options.resolve_symlinks, options.force_upload);
                Ok((at, Collected { hash, files, resolve, force_upload }))
            })
            .collect()
    }

    fn ignored(&self) -> Result<Vec<String>, Error> {
        let mut patterns = self.ignore.clone();
        if let Ok(text) = fs::read_to_string(self.context.join(".dockerignore")) {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            patterns.extend(lines.map(str::to_owned));
        }
        match patterns.iter().find(|pattern| pattern.starts_with('!')) {
            Some(pattern) => {
                Err(Error::invalid(format!("{pattern:?} in .dockerignore: exceptions are not supported")))
            }
            None => Ok(patterns.iter().map(|p| p.trim_matches('/').to_owned()).collect()),
        }
    }

    /// Packs the files of a step as a compressed archive.
    pub(super) fn pack(&self, collected: &Collected) -> Result<Bytes, Error> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        archive.follow_symlinks(collected.resolve);
        for path in &collected.files {
            let at = self.context.join(path);
            archive.append_path_with_name(&at, path).map_err(|e| unreadable(&at, e))?;
        }
        let packed = archive.into_inner().and_then(GzEncoder::finish);
        packed.map(Bytes::from).map_err(|e| unreadable(&self.context, e))
    }
}

/// The path without `.`; nothing outside of the context can be copied.
fn relative(source: &str) -> Result<Vec<String>, Error> {
    let outside = || Error::invalid(format!("{source:?} leads out of the context: copy paths below it"));
    Path::new(source)
        .components()
        .filter(|component| !matches!(component, Component::CurDir))
        .map(|component| match component {
            Component::Normal(name) => Ok(name.to_string_lossy().into_owned()),
            _ => Err(outside()),
        })
        .collect()
}

/// What a source with wildcards means.
fn expand(context: &Path, source: &[String]) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![PathBuf::new()];
    for (at, name) in source.iter().enumerate() {
        if !name.contains(['*', '?']) {
            found = found.into_iter().map(|path| path.join(name)).collect();
            found.retain(|path| context.join(path).symlink_metadata().is_ok());
            continue;
        }
        if name == "**" {
            // Everything below, matched against the rest.
            let rest = source[at..].join("/");
            let mut all = Vec::new();
            for path in &found {
                walk(context, path, &[], &mut all)?;
                all.retain(|file| {
                    file.strip_prefix(path).is_ok_and(|f| matches(&rest, &f.to_string_lossy()))
                });
            }
            return Ok(all);
        }
        let mut next = Vec::new();
        for path in found {
            for entry in names(&context.join(&path))? {
                if matches(name, &entry) {
                    next.push(path.join(entry));
                }
            }
        }
        found = next;
    }
    Ok(found)
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(|e| unreadable(dir, e))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|e| unreadable(dir, e))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Adds a path and, of a directory, everything below it that is not left out.
fn walk(context: &Path, path: &Path, ignore: &[String], files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let text = path.to_string_lossy();
    let last = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if ignore.iter().any(|p| matches(p, &text) || (!p.contains('/') && matches(p, &last))) {
        return Ok(());
    }
    let at = context.join(path);
    let meta = at.symlink_metadata().map_err(|e| unreadable(&at, e))?;
    if !path.as_os_str().is_empty() {
        files.push(path.to_owned());
    }
    if meta.is_dir() {
        for name in names(&at)? {
            walk(context, &path.join(name), ignore, files)?;
        }
    }
    Ok(())
}

/// `*` and `?` stay within a name, `**` does not.
fn matches(pattern: &str, text: &str) -> bool {
    fn go(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', b'*', rest @ ..], _) => {
                let rest = rest.strip_prefix(b"/").unwrap_or(rest);
                (0..=text.len()).any(|at| go(rest, &text[at..]))
            }
            ([b'*', rest @ ..], _) => (0..=text.len())
                .take_while(|at| *at == 0 || text[at - 1] != b'/')
                .any(|at| go(rest, &text[at..])),
            ([b'?', rest @ ..], [byte, more @ ..]) => *byte != b'/' && go(rest, more),
            ([a, rest @ ..], [b, more @ ..]) => a == b && go(rest, more),
            _ => false,
        }
    }
    go(pattern.as_bytes(), text.as_bytes())
}

fn hash(context: &Path, args: &[String], files: &[PathBuf], resolve: bool) -> Result<String, Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut all = Sha256::new();
    let mut add = |bytes: &[u8]| {
        all.update((bytes.len() as u64).to_le_bytes());
        all.update(bytes);
    };
    add(args[0].as_bytes());
    add(args[1].as_bytes());
    for path in files {
        let at = context.join(path);
        let meta = if resolve { at.metadata() } else { at.symlink_metadata() };
        let meta = meta.map_err(|e| unreadable(&at, e))?;
        add(path.as_os_str().as_encoded_bytes());
        add(&meta.permissions().mode().to_le_bytes());
        if meta.is_symlink() {
            add(fs::read_link(&at).map_err(|e| unreadable(&at, e))?.as_os_str().as_encoded_bytes());
        } else if meta.is_file() {
            add(&fs::read(&at).map_err(|e| unreadable(&at, e))?);
        }
    }
    Ok(format!("{:x}", all.finalize()))
}

fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    Error::caused(ErrorKind::FileUpload, format!("reading {} to copy it", path.display()), cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(dir: &Path, source: &str) -> Result<Vec<String>, Error> {
        let template = Template::from_image("a").context(dir).copy(source, "/to").ignore("*.log");
        let files = template.collect()?.remove(&0).unwrap();
        assert!(!template.pack(&files)?.is_empty());
        Ok(files.files.iter().map(|file| file.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn a_copy_takes_what_it_names() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/b/c.txt", "a/d.txt", "a/e.log", "f.txt"] {
            let at = dir.path().join(file);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, file).unwrap();
        }
        fs::write(dir.path().join(".dockerignore"), "# nothing\nf.txt\n").unwrap();
        assert_eq!(copied(dir.path(), "a").unwrap(), ["a", "a/b", "a/b/c.txt", "a/d.txt"]);
        assert_eq!(copied(dir.path(), "./a/*").unwrap(), ["a/b", "a/b/c.txt", "a/d.txt"]);
        assert_eq!(copied(dir.path(), "**/*.txt").unwrap(), ["a/b/c.txt", "a/d.txt"]);
        for nothing in ["nowhere", "f.txt", "a/*.log"] {
            assert_eq!(copied(dir.path(), nothing).unwrap_err().kind(), ErrorKind::FileUpload, "{nothing}");
        }
        for outside in ["../a", "/etc", "a/../../b"] {
            assert_eq!(
                copied(dir.path(), outside).unwrap_err().kind(),
                ErrorKind::InvalidArgument,
                "{outside}"
            );
        }
    }

    #[test]
    fn the_hash_follows_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let hash = || {
            let template = Template::from_image("a").context(dir.path()).copy("f", "/to");
            template.collect().unwrap().remove(&0).unwrap().hash
        };
        fs::write(dir.path().join("f"), "1").unwrap();
        let first = hash();
        assert_eq!((first.len(), hash()), (64, first.clone()));
        fs::write(dir.path().join("f"), "2").unwrap();
        assert_ne!(hash(), first);
    }

    #[test]
    fn wildcards_match_as_in_file_names() {
        for (pattern, text, yes) in [
            ("*.rs", "a.rs", true),
            ("*.rs", "a/b.rs", false),
            ("**/*.rs", "a/b/c.rs", true),
            ("**/*.rs", "c.rs", true),
            ("a/**", "a/b/c", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
        ] {
            assert_eq!(matches(pattern, text), yes, "{pattern} {text}");
        }
    }
}

//! Into a sandbox: large files as streams, small ones many at a time.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use sdk::{EntryKind, ErrorKind};

use super::super::form::Form;
use super::super::pieces;
use super::super::sandbox::quote;
use super::tree::{DEEPEST, MOST};
use super::{Done, Inside};

/// Files below this size wait for others, until so many files or bytes go together.
const SMALL: u64 = 256 * 1024;
const TOGETHER: usize = 64;
const TOGETHER_BYTES: usize = 4 << 20;

/// Words of one command line that makes files executable, or links.
const LINE: usize = 64 * 1024;

/// Copies a file, a directory or standard input.
pub(super) async fn run(inside: &Inside<'_>, from: &str, to: &str, form: Form) -> Result<Done> {
    if from == "-" {
        let mut done = Done::new(form.byte_bar(None));
        ensure!(
            !to.is_empty() && !is_directory(inside, to).await?,
            "{to:?} is a directory: name the file to write"
        );
        stream(inside, io::stdin(), to, &mut done).await?;
        return Ok(done);
    }
    let source = Path::new(from);
    let found = fs::metadata(source).with_context(|| format!("open {from}"))?;
    let to = target(inside, source, to).await?;
    if found.is_dir() {
        return Tree::new(inside, form).copy(source, &to).await;
    }
    let mut done = Done::new(form.byte_bar(Some(found.len())));
    done.bar.set_message(from.to_owned());
    let file = fs::File::open(source).with_context(|| format!("open {from}"))?;
    stream(inside, file, &to, &mut done).await?;
    if is_executable(&found) {
        act(inside, "chmod +x --", &[to]).await?;
    }
    Ok(done)
}

/// Where it goes: into a directory that is there under its own name, else as named.
async fn target(inside: &Inside<'_>, source: &Path, to: &str) -> Result<String> {
    if !(to.is_empty() || to.ends_with('/') || is_directory(inside, to).await?) {
        return Ok(to.to_owned());
    }
    let whole = fs::canonicalize(source).with_context(|| format!("open {}", source.display()))?;
    // A link's own name, but a name also for `.` and `..`.
    let name = source.file_name().or_else(|| whole.file_name()).and_then(|name| name.to_str());
    let name = name.with_context(|| format!("name {} in the sandbox", source.display()))?;
    Ok(if to.is_empty() { name.to_owned() } else { format!("{}/{name}", to.trim_end_matches('/')) })
}

async fn is_directory(inside: &Inside<'_>, path: &str) -> Result<bool> {
    match inside.files().info(path).await {
        Ok(entry) => Ok(entry.kind == EntryKind::Directory),
        Err(error) if error.kind() == ErrorKind::FileNotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("look at {path} in the sandbox")),
    }
}

async fn stream(
    inside: &Inside<'_>,
    from: impl io::Read + Send + 'static,
    to: &str,
    done: &mut Done,
) -> Result<()> {
    let bar = done.bar.clone();
    let pieces = futures_util::stream::unfold((pieces::read(from), bar), |(mut pieces, bar)| async move {
        let piece = pieces.recv().await?;
        bar.inc(piece.as_ref().map_or(0, Bytes::len) as u64);
        Some((piece, (pieces, bar)))
    });
    let written = inside.files().write_stream(to, pieces).await;
    written.with_context(|| format!("write {to} in the sandbox"))?;
    // The answer names the file, not its size: what went through the bar is it.
    done.bytes = done.bar.position();
    done.files += 1;
    Ok(())
}

fn is_executable(found: &Metadata) -> bool {
    found.permissions().mode() & 0o111 != 0
}

/// Runs a command line with these words at its end, in as many turns as it needs.
async fn act(inside: &Inside<'_>, line: &str, words: &[String]) -> Result<()> {
    let mut rest = words;
    while !rest.is_empty() {
        let (mut text, mut taken) = (line.to_owned(), 0);
        while let Some(word) = rest.get(taken).filter(|_| text.len() < LINE) {
            text.push(' ');
            text.push_str(&quote(word));
            taken += 1;
        }
        rest = &rest[taken..];
        run_line(inside, text).await?;
    }
    Ok(())
}

async fn run_line(inside: &Inside<'_>, line: String) -> Result<()> {
    let mut command = inside.sandbox.commands().run(line);
    if let Some(user) = inside.user {
        command = command.user(user);
    }
    command.await.and_then(sdk::CommandOutput::success).context("finish the copy in the sandbox")?;
    Ok(())
}

/// A directory on its way.
struct Tree<'a> {
    inside: &'a Inside<'a>,
    done: Done,
    small: Vec<(String, Vec<u8>)>,
    small_bytes: usize,
    executable: Vec<String>,
    links: Vec<(String, String)>,
    entries: u64,
}

impl<'a> Tree<'a> {
    fn new(inside: &'a Inside<'a>, form: Form) -> Self {
        let (small, executable, links) = (Vec::new(), Vec::new(), Vec::new());
        let done = Done::new(form.byte_bar(None));
        Self { inside, done, small, small_bytes: 0, executable, links, entries: 0 }
    }

    async fn copy(mut self, source: &Path, to: &str) -> Result<Done> {
        let mut left = vec![(source.to_owned(), to.to_owned(), 0)];
        while let Some((dir, to, depth)) = left.pop() {
            ensure!(depth < DEEPEST, "{} lies more than {DEEPEST} directories deep", dir.display());
            self.inside.files().make_dir(&to).await.with_context(|| format!("make {to} in the sandbox"))?;
            let mut names: Vec<_> = fs::read_dir(&dir)
                .and_then(Iterator::collect)
                .with_context(|| format!("read {}", dir.display()))?;
            names.sort_by_key(fs::DirEntry::file_name);
            for entry in names {
                if let Some(below) = self.entry(&entry.path(), &to).await? {
                    left.push((entry.path(), below, depth + 1));
                }
            }
        }
        self.finish().await
    }

    /// Copies one entry; of a directory only its new path is told.
    async fn entry(&mut self, path: &Path, to: &str) -> Result<Option<String>> {
        let shown = path.display();
        self.entries += 1;
        ensure!(self.entries <= MOST, "there are more than {MOST} files: pack them (tar)");
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            bail!("the name of {shown} is not UTF-8");
        };
        let to = format!("{to}/{name}");
        let found = fs::symlink_metadata(path).with_context(|| format!("look at {shown}"))?;
        self.done.bar.set_message(name.to_owned());
        if found.is_dir() {
            return Ok(Some(to));
        } else if found.is_symlink() {
            self.links.push((link_target(path)?, to));
        } else if found.is_file() {
            self.file(path, &found, to).await?;
        } else {
            eprintln!("warren: {shown} is neither a file nor a directory: left out");
        }
        Ok(None)
    }

    async fn file(&mut self, path: &Path, found: &Metadata, to: String) -> Result<()> {
        if is_executable(found) {
            self.executable.push(to.clone());
        }
        if found.len() >= SMALL {
            let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
            return stream(self.inside, file, &to, &mut self.done).await;
        }
        let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        self.small_bytes += content.len();
        self.small.push((to, content));
        if self.small.len() >= TOGETHER || self.small_bytes >= TOGETHER_BYTES {
            self.send_small().await?;
        }
        Ok(())
    }

    async fn send_small(&mut self) -> Result<()> {
        let (files, bytes) = (std::mem::take(&mut self.small), std::mem::take(&mut self.small_bytes));
        let count = files.len() as u64;
        self.inside.files().write_files(files).await.context("write files in the sandbox")?;
        self.done.add(bytes);
        self.done.bytes = self.done.bar.position();
        self.done.files += count;
        Ok(())
    }

    async fn finish(mut self) -> Result<Done> {
        self.send_small().await?;
        act(self.inside, "chmod +x --", &self.executable).await?;
        let links =
            self.links.iter().map(|(target, to)| format!("ln -sfn -- {} {}", quote(target), quote(to)));
        let mut line = String::new();
        for link in links {
            if line.len() + link.len() > LINE {
                run_line(self.inside, std::mem::take(&mut line)).await?;
            }
            line = if line.is_empty() { link } else { format!("{line} && {link}") };
        }
        if !line.is_empty() {
            run_line(self.inside, line).await?;
        }
        Ok(self.done)
    }
}

fn link_target(path: &Path) -> Result<String> {
    let target: PathBuf = fs::read_link(path).with_context(|| format!("read the link {}", path.display()))?;
    target
        .into_os_string()
        .into_string()
        .ok()
        .with_context(|| format!("the link {} is not UTF-8", path.display()))
}

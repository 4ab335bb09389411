//! Out of a sandbox. A file appears under its name when it is whole. Nothing is
//! written outside of the place that was asked for, whatever the sandbox says.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::TryStreamExt as _;
use sdk::{Entry, EntryKind};

use super::super::form::Form;
use super::tree::{DEEPEST, MOST, is_name, link_here};
use super::{Done, Inside};

/// Copies a file to a file or standard output, or a directory.
pub(super) async fn run(inside: &Inside<'_>, path: &str, to: &str, form: Form) -> Result<Done> {
    let entry = inside.files().info(path).await.with_context(|| format!("look at {path} in the sandbox"))?;
    if to == "-" {
        ensure!(entry.kind != EntryKind::Directory, "{path} is a directory: name a directory to copy it to");
        let mut done = Done::new(form.byte_bar(Some(entry.size)));
        pull(inside, path, &mut io::stdout().lock(), &mut done).await?;
        done.files = 1;
        return Ok(done);
    }
    let to = target(path, &entry, Path::new(to))?;
    if entry.kind == EntryKind::Directory {
        let done = Done::new(form.byte_bar(None));
        return Tree { inside, root: entry.path, done, links: Vec::new(), entries: 0 }.copy(path, &to).await;
    }
    let mut done = Done::new(form.byte_bar(Some(entry.size)));
    done.bar.set_message(path.to_owned());
    file(inside, path, &entry, &to, &mut done).await?;
    Ok(done)
}

/// Where it goes: into a directory that is there under its own name, else as named.
fn target(path: &str, entry: &Entry, to: &Path) -> Result<PathBuf> {
    if !to.is_dir() {
        return Ok(to.to_owned());
    }
    let name = path.trim_end_matches('/').rsplit('/').next().filter(|name| is_name(name));
    let name = name.or_else(|| is_name(&entry.name).then_some(entry.name.as_str()));
    Ok(to.join(name.with_context(|| format!("{path} has no name: name the directory to write"))?))
}

/// Moves a file's bytes as they come.
async fn pull(inside: &Inside<'_>, path: &str, to: &mut impl Write, done: &mut Done) -> Result<()> {
    let pieces = inside.files().read_stream(path).await;
    let mut pieces = std::pin::pin!(pieces.with_context(|| format!("read {path} in the sandbox"))?);
    while let Some(piece) = pieces.try_next().await.with_context(|| format!("read {path} in the sandbox"))? {
        to.write_all(&piece).context("write what was read")?;
        done.add(piece.len());
    }
    to.flush().context("write what was read")
}

/// Beside its place first, then moved there: what breaks off leaves the old file.
async fn file(inside: &Inside<'_>, path: &str, entry: &Entry, to: &Path, done: &mut Done) -> Result<()> {
    let name = to.file_name().with_context(|| format!("{} names no file", to.display()))?;
    let mut part = name.to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = to.with_file_name(part);
    let mut opened = fs::OpenOptions::new();
    let mut out =
        opened.write(true).create_new(true).open(&part).with_context(|| format!("write {}", to.display()))?;
    let pulled = pull(inside, path, &mut out, done).await;
    let kept = pulled.and_then(|()| {
        let mode = fs::metadata(&part).context("look at the file")?.permissions().mode();
        // An executable file stays one, for those who may read it.
        let mode = if entry.mode & 0o111 != 0 { mode | (mode & 0o444) >> 2 } else { mode };
        fs::set_permissions(&part, Permissions::from_mode(mode & 0o777)).context("set the file's mode")?;
        fs::rename(&part, to).with_context(|| format!("write {}", to.display()))
    });
    if kept.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&part);
    }
    done.files += 1;
    kept
}

/// A directory on its way.
struct Tree<'a> {
    inside: &'a Inside<'a>,
    /// The directory's whole path in the sandbox.
    root: String,
    done: Done,
    /// Made last: nothing is ever written through one.
    links: Vec<(String, PathBuf)>,
    entries: u64,
}

impl Tree<'_> {
    async fn copy(mut self, path: &str, to: &Path) -> Result<Done> {
        let mut left = vec![(path.trim_end_matches('/').to_owned(), to.to_owned(), 0)];
        while let Some((dir, to, depth)) = left.pop() {
            ensure!(depth < DEEPEST, "{dir} lies more than {DEEPEST} directories deep");
            make_dir(&to)?;
            let shown = if dir.is_empty() { "/" } else { &dir };
            let entries = inside_list(self.inside, shown).await?;
            for entry in entries {
                self.entries += 1;
                ensure!(self.entries <= MOST, "there are more than {MOST} files: pack them (tar)");
                let name = &entry.name;
                if !is_name(name) {
                    bail!("the sandbox tells of a file {name:?} in {shown}, which is no name");
                }
                let (from, to) = (format!("{dir}/{name}"), to.join(name));
                self.done.bar.set_message(name.clone());
                match (&entry.symlink_target, entry.kind) {
                    (Some(target), _) => self.link(&from, target, to, depth),
                    (None, EntryKind::Directory) => left.push((from, to, depth + 1)),
                    (None, EntryKind::File) => file(self.inside, &from, &entry, &to, &mut self.done).await?,
                    (None, EntryKind::Other) => eprintln!("warren: {from} is no file: left out"),
                }
            }
        }
        for (target, to) in &self.links {
            if to.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
                fs::remove_file(to).with_context(|| format!("replace the link {}", to.display()))?;
            }
            symlink(target, to).with_context(|| format!("make the link {}", to.display()))?;
        }
        Ok(self.done)
    }

    fn link(&mut self, from: &str, target: &str, to: PathBuf, depth: usize) {
        match link_here(target, &self.root, depth) {
            Some(target) => self.links.push((target, to)),
            None => eprintln!("warren: the link {from} leads out of the directory: left out"),
        }
    }
}

async fn inside_list(inside: &Inside<'_>, dir: &str) -> Result<Vec<Entry>> {
    inside.files().list(dir, 1).await.with_context(|| format!("list {dir} in the sandbox"))
}

/// A directory that is there is as good as a new one; a link to one is not.
fn make_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && is_real_dir(path) => Ok(()),
        made => made.with_context(|| format!("make the directory {}", path.display())),
    }
}

fn is_real_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

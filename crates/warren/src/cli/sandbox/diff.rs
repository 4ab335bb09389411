//! `warren sandbox diff`: which files changed.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use sdk::{Change, ChangeKind, ChangedFile, ChangedFileKind, Config, Sandbox, SnapshotMode};
use serde_json::{Value, json};

use super::super::form::{Form, has_colours, print_json, size};
use super::snapshot::keep;

/// Options of `diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The snapshot before.
    before: String,
    /// The snapshot after.
    #[arg(required_unless_present = "sandbox")]
    after: Option<String>,
    /// Compare with the files of this sandbox as they are now.
    #[arg(long, value_name = "ID", conflicts_with = "after")]
    sandbox: Option<String>,
}

/// Runs the command.
pub(super) async fn run(config: &Config, wanted: Diff, form: Form) -> Result<ExitCode> {
    let Diff { before, after, sandbox } = wanted;
    let Some(id) = sandbox else {
        let after = after.context("name the snapshot after, or --sandbox")?;
        show(config, &before, &after, form).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let now = keep(config, &id, None, SnapshotMode::Filesystem, form).await?.snapshot_id;
    let shown = show(config, &before, &now, form).await;
    let forgotten = Sandbox::delete_snapshot(config, &now).await;
    shown?;
    forgotten.with_context(|| format!("delete {now}, with which it was compared"))?;
    Ok(ExitCode::SUCCESS)
}

/// People and scripts see the changes page by page; a program gets one document.
async fn show(config: &Config, before: &str, after: &str, form: Form) -> Result<()> {
    let mut pages = Sandbox::diff_snapshots(config, before, after);
    let mut counts = [0_usize; 3];
    let mut all = Vec::new();
    while pages.has_next() {
        let waiting = form.spinner("comparing");
        let page = pages.next_items().await;
        waiting.finish_and_clear();
        for change in page.with_context(|| format!("compare {before} with {after}"))? {
            let of_kind = match change.kind {
                ChangeKind::Added => 0,
                ChangeKind::Modified => 1,
                ChangeKind::Removed => 2,
            };
            counts[of_kind] += 1;
            if form.json {
                all.push(as_json(&change));
            } else if form.quiet {
                println!("{}", named(&change.path));
            } else {
                println!("{}", line(&change, has_colours()));
            }
        }
    }
    if form.json {
        print_json(&all)?;
    } else if form.is_talkative() {
        println!("{}", summary(counts));
    }
    Ok(())
}

/// A change as a line for people: sign, kind, size, path, and what else changed.
fn line(change: &Change, colours: bool) -> String {
    let (sign, colour) = match change.kind {
        ChangeKind::Added => ('+', "\u{1b}[32m"),
        ChangeKind::Modified => ('~', "\u{1b}[33m"),
        ChangeKind::Removed => ('-', "\u{1b}[31m"),
    };
    let (on, off) = if colours { (colour, "\u{1b}[0m") } else { ("", "") };
    let Some(side) = change.after.as_ref().or(change.before.as_ref()) else { return String::new() };
    let bytes = if side.kind == ChangedFileKind::File { size(side.size_bytes) } else { String::new() };
    let text = format!(
        "{on}{sign}{off} {:<9}  {bytes:>10}  {}{}",
        kind(side.kind),
        named(&change.path),
        became(change)
    );
    text.trim_end().to_owned()
}

/// What it was, as far as that is another thing than it is.
fn became(change: &Change) -> String {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return String::new() };
    let mut was = Vec::new();
    if before.kind != after.kind {
        was.push(kind(before.kind).to_owned());
    } else if after.kind == ChangedFileKind::File && before.size_bytes != after.size_bytes {
        was.push(size(before.size_bytes));
    }
    // A link has no mode of its own.
    let has_mode = |side: &ChangedFile| side.kind != ChangedFileKind::Symlink;
    if before.mode != after.mode && has_mode(before) && has_mode(after) {
        was.push(format!("mode {:04o}, now {:04o}", before.mode, after.mode));
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        was.push(format!("owner {}:{}, now {}:{}", before.uid, before.gid, after.uid, after.gid));
    }
    if was.is_empty() { String::new() } else { format!("  (was {})", was.join("; ")) }
}

fn kind(of: ChangedFileKind) -> &'static str {
    match of {
        ChangedFileKind::File => "file",
        ChangedFileKind::Directory => "directory",
        ChangedFileKind::Symlink => "link",
        ChangedFileKind::Fifo => "pipe",
        ChangedFileKind::Socket => "socket",
        ChangedFileKind::Device => "device",
    }
}

fn summary([added, modified, removed]: [usize; 3]) -> String {
    match added + modified + removed {
        0 => "no file differs".to_owned(),
        1 => format!("1 path differs: {added} new, {modified} changed, {removed} gone"),
        all => format!("{all} paths differ: {added} new, {modified} changed, {removed} gone"),
    }
}

/// A path on one line, quoted and escaped where it holds what is no text: whoever
/// chose the name must not steer the terminal, nor make two lines of one.
#[expect(clippy::unnecessary_debug_formatting, reason = "escapes are wanted")]
fn named(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("{path:?}"),
    }
}

fn as_json(change: &Change) -> Value {
    let side = |side: &Option<ChangedFile>| side.as_ref().map(|side| json!(side));
    let word = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "modified",
        ChangeKind::Removed => "removed",
    };
    json!({
        "path": change.path.to_string_lossy(),
        "change": word,
        "before": side(&change.before),
        "after": side(&change.after),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn file(size_bytes: u64, mode: u32) -> ChangedFile {
        ChangedFile { kind: ChangedFileKind::File, size_bytes, mode, uid: 0, gid: 0 }
    }

    fn change(path: &[u8], before: Option<ChangedFile>, after: Option<ChangedFile>) -> Change {
        let kind = match (&before, &after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Modified,
        };
        Change { path: OsStr::from_bytes(path).into(), kind, before, after }
    }

    #[test]
    fn a_line_says_what_became_of_what() {
        let shown = |change: Change| line(&change, false);
        assert_eq!(shown(change(b"/new", None, Some(file(2048, 0o644)))), "+ file         2.00 KiB  /new");
        assert_eq!(shown(change(b"/old", Some(file(0, 0o644)), None)), "- file              0 B  /old");
        assert_eq!(
            shown(change(b"/x", Some(file(1, 0o644)), Some(file(2048, 0o4755)))),
            "~ file         2.00 KiB  /x  (was 1 B; mode 0644, now 4755)"
        );
        assert_eq!(
            shown(change(b"/same", Some(file(1, 0o644)), Some(file(1, 0o644)))),
            "~ file              1 B  /same"
        );
        let link =
            Some(ChangedFile { kind: ChangedFileKind::Symlink, size_bytes: 3, mode: 0o777, uid: 5, gid: 5 });
        assert_eq!(
            shown(change(b"/l", Some(file(1, 0o644)), link)),
            "~ link                   /l  (was file; owner 0:0, now 5:5)"
        );
        assert!(
            line(&change(b"/new", None, Some(file(1, 0))), true).starts_with("\u{1b}[32m+\u{1b}[0m file")
        );
    }

    #[test]
    fn a_name_stays_on_its_line_and_is_no_command() {
        let name = |bytes: &[u8]| named(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(name("/a b/\u{e9}".as_bytes()), "/a b/\u{e9}");
        assert_eq!(name(b"/a\nb"), r#""/a\nb""#);
        assert_eq!(name(b"/\x1b[2J\xff"), r#""/\u{1b}[2J\xFF""#);
    }

    #[test]
    fn the_end_counts() {
        assert_eq!(summary([0, 0, 0]), "no file differs");
        assert_eq!(summary([0, 1, 0]), "1 path differs: 0 new, 1 changed, 0 gone");
        assert_eq!(summary([3, 1, 2]), "6 paths differ: 3 new, 1 changed, 2 gone");
    }
}

//! Copies files of a recipe into a sandbox: each is uploaded, then one script
//! sets owners and modes.

use std::fmt::Write;
use std::path::Path;

use runtime::Dial;

use super::call::{self, Process};
use super::key::{files_of, mode_of};
use super::recipe::Copy;
use super::step::StepFailure;
use super::tail::Tail;
use crate::disk;

pub(super) async fn copy(
    dial: &dyn Dial,
    copy: &Copy,
    dir: &Path,
    tail: &mut Tail,
) -> Result<wire::process::EndEvent, StepFailure> {
    let source = dir.join(&copy.src);
    let files = disk::blocking(move || files_of(&source)).await?;
    let mut script = String::new();
    for (path, beneath) in files {
        let target = target(&copy.dest, &beneath)?;
        let (content, mode) = disk::blocking(move || {
            let content = std::fs::read(&path).map_err(disk::error("reading", &path))?;
            Ok::<_, disk::Error>((content, mode_of(&path)?))
        })
        .await?;
        tail.push(format!("{target}\n").as_bytes());
        call::upload(dial, &target, call::whole(content)).await?;
        let mode = copy.mode.clone().unwrap_or_else(|| format!("{mode:o}"));
        let (owner, mode, target) = (quoted(&copy.owner), quoted(&mode), quoted(&target));
        writeln!(script, "chown {owner} {target}\nchmod {mode} {target}").expect("a String takes all");
    }
    call::run(dial, &Process::script("root", &script), |_, output| tail.push(output)).await
}

/// Where a file goes: `dest` itself for a single file.
fn target(dest: &str, beneath: &Path) -> Result<String, StepFailure> {
    let target = if beneath.as_os_str().is_empty() { dest.into() } else { Path::new(dest).join(beneath) };
    target.to_str().map(str::to_owned).ok_or_else(|| StepFailure::Guest {
        what: "copying",
        text: format!("{} is not valid UTF-8", target.display()),
    })
}

/// A word that a shell takes as it is.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_they_belong() {
        assert_eq!(target("/a/b.txt", Path::new("")).unwrap(), "/a/b.txt");
        assert_eq!(target("/", Path::new("etc/pip.conf")).unwrap(), "/etc/pip.conf");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}

//! What single steps do inside, and what their ends mean.

use std::path::PathBuf;

use wire::process::EndEvent;

use super::call::Channel;
use super::context::Context;
use super::copy::quoted;
use super::place::{self, Placement};
use super::step::{StepFailure, is_success};
use crate::disk;
use crate::error::chain;

/// Copies an upload, if it is there.
pub(super) async fn place_or_say(
    dial: &dyn runtime::Dial,
    archive: PathBuf,
    placement: &Placement<'_>,
    context: &Context,
    print: impl FnMut(Channel, &[u8]),
) -> Result<EndEvent, StepFailure> {
    let there = disk::blocking({
        let archive = archive.clone();
        move || archive.is_file()
    });
    if !there.await {
        let text = "its files were not uploaded".to_owned();
        return Err(StepFailure::Guest { what: "copying", text });
    }
    place::place(dial, &archive, placement, context, print).await
}

/// What the end of a step means; says what failed.
pub(super) fn verdict(named: &str, ended: Result<EndEvent, StepFailure>) -> Result<(), String> {
    match ended {
        Ok(end) if is_success(&end) => Ok(()),
        Ok(end) => Err(format!("failed to {named}: {}", end.status)),
        Err(StepFailure::Refused(error)) => Err(format!("failed to {named}: command failed: {error}")),
        Err(other) => Err(format!("failed to {named}: {}", chain(&other))),
    }
}

/// Makes a directory, and those above it that are missing, the user's.
pub(super) fn workdir_script(dir: &str, user: &str) -> String {
    format!(
        "dir={}\nfirst=$dir\n\
         if [ -d \"$dir\" ]; then exit 0; fi\n\
         while [ ! -e \"$(dirname \"$first\")\" ]; do first=$(dirname \"$first\"); done\n\
         mkdir -p -- \"$dir\"\n\
         chown -R -- {} \"$first\"\n",
        quoted(dir),
        quoted(&format!("{user}:")),
    )
}

/// Makes a user unless there is one of this name.
pub(super) fn user_script(name: &str, sudo: bool) -> String {
    let name = quoted(name);
    let make =
        format!("id -u -- {name} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash -- {name}\n");
    if !sudo {
        return make;
    }
    format!(
        "{make}mkdir -p /etc/sudoers.d\n\
         printf '%s ALL=(ALL:ALL) NOPASSWD: ALL\\n' {name} >/etc/sudoers.d/{name}\n\
         chmod 0440 /etc/sudoers.d/{name}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_take_names_as_they_are() {
        assert!(workdir_script("/a b", "it's").contains("dir='/a b'\n"));
        assert!(workdir_script("/a", "it's").contains(r"chown -R -- 'it'\''s:' "));
        assert!(!user_script("bob", false).contains("sudoers"));
        assert!(user_script("bob", true).contains("NOPASSWD: ALL\\n' 'bob'"));
    }
}

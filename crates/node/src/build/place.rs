//! Places uploaded files: the archive goes into the sandbox, is unpacked there,
//! and a script moves what it holds. Nothing of it is read on the host.

use std::path::Path;

use runtime::Dial;
use wire::process::EndEvent;

use super::call::{self, Channel, Process};
use super::context::Context;
use super::copy::quoted;
use super::order::beneath;
use super::step::StepFailure;
use crate::disk;

/// Where the archive is unpacked; gone before the layer is made.
const ASIDE: &str = "/var/tmp/.warren-copy";

/// A copy, as the script needs it.
#[derive(Debug)]
pub(super) struct Placement<'a> {
    pub(super) source: &'a str,
    pub(super) dest: &'a str,
    pub(super) owner: Option<&'a str>,
    pub(super) mode: Option<&'a str>,
}

/// Copies what the archive holds.
pub(super) async fn place(
    dial: &dyn Dial,
    archive: &Path,
    placement: &Placement<'_>,
    context: &Context,
    output: impl FnMut(Channel, &[u8]),
) -> Result<EndEvent, StepFailure> {
    let script = script(placement, context)?;
    let file = tokio::fs::File::open(archive).await.map_err(disk::error("opening", archive))?;
    call::upload(dial, &format!("{ASIDE}/archive"), call::of_file(file)).await?;
    call::run(dial, &Process::script("root", &script), output).await
}

/// One file or link goes to the destination itself, or into it if that ends with
/// a slash; of a directory, the contents are merged into the destination.
/// Directories that are there keep their owners and modes.
fn script(placement: &Placement<'_>, context: &Context) -> Result<String, StepFailure> {
    let refused = |text: String| StepFailure::Guest { what: "copying", text };
    let beneath = beneath(placement.source)
        .ok_or_else(|| refused(format!("the source {:?} leads out of the archive", placement.source)))?;
    let owner = placement.owner.unwrap_or(&context.user);
    let owner = if owner.contains(':') { owner.to_owned() } else { format!("{owner}:{owner}") };
    if let Some(mode) = placement.mode.filter(|mode| u32::from_str_radix(mode, 8).is_err()) {
        return Err(refused(format!("the mode {mode:?} is not octal")));
    }
    // Without a directory of its own, the user's home is where relative paths stand.
    let dest = match (&context.workdir, placement.dest.starts_with('/')) {
        (None, false) => format!("$home/{}", placement.dest.trim_start_matches("./")),
        _ => context.resolve(placement.dest),
    };
    let chmod = placement.mode.map_or(String::new(), |mode| {
        format!("find \"$from\" ! -type l -exec chmod {} {{}} +\n", quoted(mode))
    });
    let dest = dest
        .strip_prefix("$home/")
        .map_or_else(|| quoted(&dest), |rest| format!("\"$home\"/{}", quoted(rest)));
    Ok(format!(
        "mkdir {ASIDE}/files\n\
         tar -xf {ASIDE}/archive -C {ASIDE}/files --no-same-owner\n\
         rm {ASIDE}/archive\n\
         home=$(getent passwd {user} | cut -d: -f6)\n\
         from={ASIDE}/files/{beneath}\n\
         to={dest}\n\
         if [ ! -e \"$from\" ] && [ ! -L \"$from\" ]; then echo 'the archive holds no such file' >&2; exit 1; fi\n\
         chown -hR {owner} \"$from\"\n\
         {chmod}\
         if [ -L \"$from\" ] || [ ! -d \"$from\" ]; then\n\
           case \"$to\" in */) to=\"$to${{from##*/}}\";; esac\n\
           if [ -d \"$to\" ] && [ ! -L \"$to\" ]; then to=\"${{to%/}}/${{from##*/}}\"; fi\n\
           mkdir -p \"$(dirname \"$to\")\"\n\
           mv -fT \"$from\" \"$to\"\n\
         else\n\
           if [ ! -e \"$to\" ]; then mkdir -p \"$to\"; chown {owner} \"$to\"; fi\n\
           set -o pipefail\n\
           tar -C \"$from\" -cf - . | tar -C \"$to\" -xpf - --no-overwrite-dir --keep-directory-symlink\n\
         fi\n\
         rm -rf {ASIDE}\n",
        user = quoted(&context.user),
        beneath = quoted(&beneath),
        owner = quoted(&owner),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str, dest: &str, mode: Option<&str>) -> Result<String, StepFailure> {
        let context =
            Context { env: std::collections::BTreeMap::default(), user: "it's".to_owned(), workdir: None };
        script(&Placement { source, dest, owner: None, mode }, &context)
    }

    #[test]
    fn what_users_write_is_quoted() {
        let script = of("a/$(id)/*", "x y/", Some("0755")).unwrap();
        assert!(script.contains("files/'a/$(id)'\n"), "{script}");
        assert!(script.contains(r"chown -hR 'it'\''s:it'\''s'"), "{script}");
        assert!(script.contains("to=\"$home\"/'x y/'\n"), "{script}");
        assert!(script.contains("chmod '0755'"), "{script}");
        assert!(of("../x", "y", None).is_err());
        assert!(of("x", "y", Some("rwx")).is_err());
    }
}

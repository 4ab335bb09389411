//! The guest daemon inside this binary, written out as the topmost layer of
//! every sandbox's root. A layer is named by its content, so that a new server
//! gives new sandboxes a new daemon and leaves running ones theirs.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The static binary that runs as pid 1 of every sandbox.
static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest"));

/// Makes sure that the layer stands below `layers` and returns its directory.
/// Safe against a crash half-way: the layer appears by one rename.
pub(crate) fn ensure(layers: &Path) -> Result<PathBuf> {
    let layer = layers.join(format!("guest-{}", digest()));
    if layer.is_dir() {
        return Ok(layer);
    }
    fs::create_dir_all(layers).with_context(|| format!("create {}", layers.display()))?;
    let draft = layers.join(format!(".guest-{}", std::process::id()));
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("remove {}", draft.display()))?;
    }
    write(&draft).with_context(|| format!("write the guest below {}", draft.display()))?;
    match fs::rename(&draft, &layer) {
        // Another server was faster; its layer has the same content.
        Err(_) if layer.is_dir() => fs::remove_dir_all(&draft).map_err(Into::into),
        renamed => renamed.with_context(|| format!("publish {}", layer.display())),
    }?;
    Ok(layer)
}

fn write(draft: &Path) -> Result<()> {
    let path = draft.join(wire::control::GUEST_PATH.trim_start_matches('/'));
    let dir = path.parent().context("the guest's path has a directory")?;
    fs::create_dir_all(dir)?;
    // A layer's directories cover those of the template below it: their modes count.
    for dir in dir.ancestors().take_while(|dir| dir.starts_with(draft)) {
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    let mut file = fs::File::create(&path)?;
    file.write_all(GUEST)?;
    file.set_permissions(Permissions::from_mode(0o755))?;
    file.sync_all()?;
    Ok(())
}

fn digest() -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(GUEST);
    let start = digest.first_chunk().copied().map(u64::from_be_bytes);
    format!("{:016x}", start.expect("a SHA-256 digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_is_made_once_and_holds_an_executable() {
        let dir = tempfile::tempdir().unwrap();
        let layer = ensure(dir.path()).unwrap();
        assert_eq!(ensure(dir.path()).unwrap(), layer);
        let guest = layer.join("usr/lib/warren/guest");
        assert_eq!(fs::metadata(&guest).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(&fs::read(&guest).unwrap()[..4], b"\x7fELF");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

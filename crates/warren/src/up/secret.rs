//! The server's secrets: files that only their owner reads.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use control::App;

use super::state::StateDir;

const SEED_LEN: usize = 32;

/// The bytes that sandboxes' tokens are derived from; made once.
pub(crate) fn seed(state: &StateDir) -> Result<Vec<u8>> {
    let path = state.path().join("seed");
    match fs::read(&path) {
        Ok(seed) => {
            ensure!(
                seed.len() == SEED_LEN,
                "{} is damaged: restore it, or remove it and every sandbox",
                path.display()
            );
            Ok(seed)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let seed = random()?;
            write(&path, &seed)?;
            Ok(seed)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// What the operator shows to be let through: made once, read back later.
pub(crate) fn admin_token(state: &StateDir) -> Result<String> {
    let path = state.path().join("admin-token");
    match fs::read_to_string(&path) {
        Ok(token) => {
            let token = token.trim().to_owned();
            ensure!(token.len() >= 32, "{} is damaged: remove it, and a new one is made", path.display());
            Ok(token)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let token = random()?.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
            write(&path, format!("{token}\n").as_bytes())?;
            Ok(token)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn random() -> Result<Vec<u8>> {
    let mut bytes = vec![0; SEED_LEN];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    ensure!(filled.context("take random bytes")? == SEED_LEN, "the kernel gave too few random bytes");
    Ok(bytes)
}

/// The key of the first start: made then, read back later. `None` when its file
/// is gone; the key still works, but nobody can tell it any more.
pub(crate) async fn api_key(state: &StateDir, app: &App) -> Result<Option<String>> {
    let path = state.path().join("api-key");
    let made = app.bootstrap().await.context("make the default team and its key")?;
    if let Some(key) = made {
        write(&path, format!("{}\n", key.reveal()).as_bytes())?;
        return Ok(Some(key.reveal().to_owned()));
    }
    match fs::read_to_string(&path) {
        Ok(key) => Ok(Some(key.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Whole or not at all, and never readable by others.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let draft = path.with_extension("new");
    let written = (|| {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::state::StateDir;

    #[test]
    fn a_seed_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let seed = super::seed(&state).unwrap();
        assert_eq!(super::seed(&state).unwrap(), seed);
        assert!(seed.iter().any(|byte| *byte != 0));
        let mode = std::fs::metadata(dir.path().join("seed")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let token = super::admin_token(&state).unwrap();
        assert_eq!((token.len(), super::admin_token(&state).unwrap()), (64, token.clone()));
        std::fs::write(dir.path().join("seed"), b"short").unwrap();
        assert!(super::seed(&state).unwrap_err().to_string().contains("damaged"));
    }
}

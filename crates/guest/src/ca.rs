//! Extra certificate authorities: in the system's bundle, and where
//! `update-ca-certificates` finds them when it makes the bundle anew.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const OWN: &str = "/usr/local/share/ca-certificates/warren-host.crt";

/// Installs `pem` in place of what was installed before.
pub(crate) fn install(pem: &str) -> io::Result<()> {
    install_at(Path::new(BUNDLE), Path::new(OWN), pem)
}

fn install_at(bundle: &Path, own: &Path, pem: &str) -> io::Result<()> {
    let pem = format!("{}\n", pem.trim());
    let before = read(own)?;
    let standing = read(bundle)?;
    if before == pem && standing.contains(&pem) {
        return Ok(());
    }
    let mut text = if before.is_empty() { standing } else { standing.replace(&before, "") };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&pem);
    replace(own, &pem)?;
    replace(bundle, &text)
}

/// Whole or not at all: programs read the bundle at any time.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = path.with_extension("warren-new");
    let mut file = fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}

fn read(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_bundle_takes_the_place_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, own) = (dir.path().join("bundle.crt"), dir.path().join("own/host.crt"));
        fs::write(&bundle, "SYSTEM\n").unwrap();
        for (pem, expected) in [("A", "SYSTEM\nA\n"), ("A\n", "SYSTEM\nA\n"), ("B", "SYSTEM\nB\n")] {
            install_at(&bundle, &own, pem).unwrap();
            assert_eq!(fs::read_to_string(&bundle).unwrap(), expected);
        }
        assert_eq!(fs::read_to_string(&own).unwrap(), "B\n");
    }
}

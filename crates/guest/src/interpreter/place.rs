//! A kernel's own directory: its connection file and its sockets.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The ports of a Jupyter kernel that the service connects to. On Unix sockets a
/// port is the end of a file name.
pub(super) const SHELL: u8 = 1;
pub(super) const BROADCAST: u8 = 2;

/// The directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("prepare {path}")]
pub(super) struct Error {
    path: PathBuf,
    source: io::Error,
}

/// The directory, for its owner's eyes. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    /// Makes one with a connection file in it.
    pub(super) fn make(run_dir: &Path) -> Result<Self, Error> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = run_dir.join(&name[..12]);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| Error { path: path.clone(), source })?;
        let place = Self(path);
        place.describe().map_err(|source| Error { path: place.connection_file(), source })?;
        Ok(place)
    }

    /// Where a Jupyter kernel binds a port.
    pub(super) fn port(&self, port: u8) -> PathBuf {
        self.0.join(format!("s-{port}"))
    }

    /// Where a kernel of our own listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("s")
    }

    /// What tells a Jupyter kernel its sockets.
    pub(super) fn connection_file(&self) -> PathBuf {
        self.0.join("connection.json")
    }

    fn describe(&self) -> io::Result<()> {
        use std::io::Write as _;
        // No key: the directory's mode keeps others out, and signing 50 MB of output
        // would cost more than carrying it.
        let text = serde_json::json!({
            "transport": "ipc",
            "ip": self.0.join("s"),
            "shell_port": SHELL,
            "iopub_port": BROADCAST,
            "stdin_port": 3,
            "control_port": 4,
            "hb_port": 5,
            "key": "",
            "signature_scheme": "hmac-sha256",
        });
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(self.connection_file())?;
        file.write_all(text.to_string().as_bytes())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

//! Virtual environments of Python, made once per list of packages.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::command::{capture, command};

/// One virtual environment.
#[derive(Debug, Clone)]
pub(crate) struct Venv {
    dir: PathBuf,
}

impl Venv {
    /// The environment `name` with exactly these packages; made when missing or
    /// when the list changed.
    pub(crate) fn ensure(name: &str, packages: &[&str]) -> anyhow::Result<Self> {
        let dir = crate::repo::tools().join("venv").join(name);
        let venv = Self { dir: dir.clone() };
        super::once(&dir, &packages.join("\n"), || {
            println!("    preparing Python environment {name}: {}", packages.join(" "));
            capture(command("python3").args(["-m", "venv"]).arg(&dir))?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            capture(venv.python().args(pip).args(packages)).map(drop)
        })
        .with_context(|| format!("prepare the Python environment {name}"))?;
        Ok(venv)
    }

    /// Its interpreter.
    pub(crate) fn python(&self) -> Command {
        command(self.program("python"))
    }

    /// One of its programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }
}

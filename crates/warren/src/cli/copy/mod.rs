//! `warren sandbox cp`: files into and out of a sandbox, like `scp`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sdk::{Config, EntryKind, Sandbox};

/// The most that is copied in one go, as the client library has it.
const LARGEST: u64 = 64 << 20;

/// Options of `cp`.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// From: a local path, SANDBOX:PATH, or - for standard input.
    from: String,
    /// To: a local path, SANDBOX:PATH, or - for standard output.
    to: String,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Here(&'a str),
    Inside { sandbox: &'a str, path: &'a str },
}

impl<'a> Place<'a> {
    /// What is before a colon is a sandbox, unless it has the letters of a path.
    fn read(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((sandbox, path)) if !sandbox.is_empty() && !sandbox.contains(['/', '.']) => {
                Self::Inside { sandbox, path }
            }
            _ => Self::Here(text),
        }
    }
}

/// Runs the command.
pub(super) async fn run(config: &Config, copy: &Copy, is_quiet: bool) -> Result<ExitCode> {
    let size = match (Place::read(&copy.from), Place::read(&copy.to)) {
        (Place::Here(from), Place::Inside { sandbox, path }) => upload(config, from, sandbox, path).await?,
        (Place::Inside { sandbox, path }, Place::Here(to)) => download(config, sandbox, path, to).await?,
        _ => bail!("one of the two must be in a sandbox (SANDBOX:PATH), and the other here"),
    };
    if !is_quiet {
        eprintln!("{} → {}  {size} bytes", copy.from, copy.to);
    }
    Ok(ExitCode::SUCCESS)
}

async fn upload(config: &Config, from: &str, sandbox: &str, path: &str) -> Result<usize> {
    let content = if from == "-" { read(io::stdin().lock())? } else { read(open(from)?)? };
    let sandbox = Sandbox::connect(config, sandbox, Duration::ZERO).await.context("find the sandbox")?;
    let size = content.len();
    let to = if path.is_empty() || path.ends_with('/') || is_directory(&sandbox, path).await? {
        let Some(name) = Path::new(from).file_name().and_then(|name| name.to_str()).filter(|_| from != "-")
        else {
            bail!("{path:?} is a directory: name the file to write");
        };
        if path.is_empty() { name.to_owned() } else { format!("{}/{name}", path.trim_end_matches('/')) }
    } else {
        path.to_owned()
    };
    sandbox.files().write(&to, content).await.with_context(|| format!("write {to} in the sandbox"))?;
    Ok(size)
}

async fn is_directory(sandbox: &Sandbox, path: &str) -> Result<bool> {
    match sandbox.files().info(path).await {
        Ok(entry) => Ok(entry.kind == EntryKind::Directory),
        Err(error) if error.kind() == sdk::ErrorKind::FileNotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("look at {path} in the sandbox")),
    }
}

async fn download(config: &Config, sandbox: &str, path: &str, to: &str) -> Result<usize> {
    let sandbox = Sandbox::connect(config, sandbox, Duration::ZERO).await.context("find the sandbox")?;
    let content = sandbox.files().read_bytes(path).await;
    let content = content.with_context(|| format!("read {path} in the sandbox"))?;
    if to == "-" {
        io::stdout().lock().write_all(&content).context("write to standard output")?;
        return Ok(content.len());
    }
    let mut target = Path::new(to).to_owned();
    if target.is_dir() {
        target.push(path.rsplit('/').next().unwrap_or(path));
    }
    fs::write(&target, &content).with_context(|| format!("write {}", target.display()))?;
    Ok(content.len())
}

fn open(path: &str) -> Result<fs::File> {
    if Path::new(path).is_dir() {
        bail!("{path} is a directory: pack it (tar -c {path} | warren sandbox cp - SANDBOX:/tmp/x.tar)");
    }
    fs::File::open(path).with_context(|| format!("open {path}"))
}

fn read(from: impl io::Read) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut content).context("read what to copy")?;
    if content.len() as u64 > LARGEST {
        bail!(
            "it is larger than 64 MiB: cut it (split -b 64m), copy the pieces, and put them together inside"
        );
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_sandbox_comes_before_a_colon() {
        assert_eq!(Place::read("i1:/tmp/x"), Place::Inside { sandbox: "i1", path: "/tmp/x" });
        assert_eq!(Place::read("i1:"), Place::Inside { sandbox: "i1", path: "" });
        for here in ["x", "./a:b", "/tmp/a:b", ":x", "-"] {
            assert_eq!(Place::read(here), Place::Here(here));
        }
    }
}

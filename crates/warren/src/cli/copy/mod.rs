//! `warren sandbox cp`: files and directories into and out of a sandbox, like
//! `scp -r`, in constant memory.

mod download;
mod tree;
mod upload;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use sdk::{Config, Files, Sandbox};

use super::form::{Form, print_json, size};
use super::server;

/// Options of `cp`.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// From: a local path, SANDBOX:PATH, or - for standard input.
    from: String,
    /// To: a local path, SANDBOX:PATH, or - for standard output.
    to: String,
    /// Read and write as this user of the sandbox.
    #[arg(long, short)]
    user: Option<String>,
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

/// What a copy has done so far, and its bar.
struct Done {
    bar: ProgressBar,
    files: u64,
    bytes: u64,
}

impl Done {
    fn new(bar: ProgressBar) -> Self {
        Self { bar, files: 0, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.bar.inc(bytes as u64);
    }
}

/// One side of a copy inside a sandbox.
struct Inside<'a> {
    sandbox: &'a Sandbox,
    user: Option<&'a str>,
}

impl Inside<'_> {
    fn files(&self) -> Files<'_> {
        match self.user {
            Some(user) => self.sandbox.files().user(user),
            None => self.sandbox.files(),
        }
    }
}

/// Runs the command.
pub(super) async fn run(config: &Config, copy: &Copy, form: Form) -> Result<ExitCode> {
    let (id, path, other, up) = match (Place::read(&copy.from), Place::read(&copy.to)) {
        (Place::Here(from), Place::Inside { sandbox, path }) => (sandbox, path, from, true),
        (Place::Inside { sandbox, path }, Place::Here(to)) => (sandbox, path, to, false),
        _ => bail!("one of the two must be in a sandbox (SANDBOX:PATH), and the other here"),
    };
    let sandbox = server::attach(config, id).await?;
    let inside = Inside { sandbox: &sandbox, user: copy.user.as_deref() };
    let done = if up {
        upload::run(&inside, other, path, form).await
    } else {
        download::run(&inside, path, other, form).await
    };
    let done = done.with_context(|| format!("copy {} to {}", copy.from, copy.to))?;
    done.bar.finish_and_clear();
    if form.json {
        let (files, bytes) = (done.files, done.bytes);
        print_json(&serde_json::json!({ "from": copy.from, "to": copy.to, "files": files, "bytes": bytes }))?;
    } else if !form.quiet {
        let files = if done.files == 1 { String::new() } else { format!("{} files, ", done.files) };
        let rounded = if done.bytes < 1024 { String::new() } else { format!(" ({})", size(done.bytes)) };
        eprintln!("{} → {}  {files}{} bytes{rounded}", copy.from, copy.to, done.bytes);
    }
    Ok(ExitCode::SUCCESS)
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

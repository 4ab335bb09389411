//! `warren install-service`: the server as a unit of systemd.
//!
//! Sandboxes live in control groups of their own beside the unit's, and systemd
//! stops the server alone, so that a restart or an upgrade leaves them running;
//! the next server takes them over.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use crate::config;
use crate::up;

/// Where units of this machine's own live.
const UNITS: &str = "/etc/systemd/system";

/// There while systemd is the first process.
const RUNNING: &str = "/run/systemd/system";

/// Says that the file is ours to replace.
const MARK: &str = "# Written by `warren install-service`, which replaces it.";

/// Arguments of `install-service`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the unit and change nothing.
    #[arg(long)]
    print: bool,
    /// Write the unit, but neither enable nor start it.
    #[arg(long)]
    no_start: bool,
    /// Arguments of `warren up` for the service, such as `-- --domain sbx.example`.
    #[arg(last = true, value_name = "ARGUMENT")]
    up: Vec<String>,
}

/// What `warren up` will be run with, parsed as it will parse it.
#[derive(Debug, Parser)]
#[command(name = "warren up")]
struct Up {
    #[command(flatten)]
    args: up::Args,
}

/// Writes the unit and starts it, or prints it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let up = Up::try_parse_from(std::iter::once("warren up").chain(args.up.iter().map(String::as_str)))?;
    // A mistake is told here and now, not in a log.
    let options = config::load(up.args.flags())?;
    let program = std::env::current_exe().context("find this program")?;
    let name = if options.instance == "warren" {
        "warren.service".to_owned()
    } else {
        format!("warren-{}.service", options.instance)
    };
    let unit = unit(&program, &args.up);
    if args.print {
        print!("{unit}");
        return Ok(ExitCode::SUCCESS);
    }
    let path = write(Path::new(UNITS), &name, &unit)?;
    println!("Wrote {}.", path.display());
    if args.no_start || !Path::new(RUNNING).exists() {
        println!(
            "To start it now and at every boot: systemctl daemon-reload && systemctl enable --now {name}"
        );
        return Ok(ExitCode::SUCCESS);
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", &name])?;
    // `restart` also starts; one that runs already becomes the new one.
    systemctl(&["restart", &name])?;
    println!(
        "It runs now and at every boot. Its log: journalctl -u {name}; its key: {}",
        options.state_dir.join("api-key").display()
    );
    Ok(ExitCode::SUCCESS)
}

fn unit(program: &Path, arguments: &[String]) -> String {
    let words = [program.to_string_lossy().into_owned(), "up".to_owned()];
    let command: Vec<String> = words.iter().chain(arguments).map(|word| quoted(word)).collect();
    format!(
        "{MARK}\n\
         [Unit]\n\
         Description=Warren, sandboxes for AI-generated code\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={command}\n\
         Restart=always\n\
         RestartSec=1\n\
         # The server alone: sandboxes run on, and the next server takes them over.\n\
         KillMode=process\n\
         Delegate=yes\n\
         # Requests under way are finished first.\n\
         TimeoutStopSec=90\n\
         LimitNOFILE=1048576\n\
         TasksMax=infinity\n\
         # Memory that runs short is taken from sandboxes, not from what steers them.\n\
         OOMScoreAdjust=-900\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        command = command.join(" "),
    )
}

/// A word of a command as systemd reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@".contains(c);
    let word = word.replace('%', "%%").replace('$', "$$");
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Puts the unit in place of an older one of ours; never in place of another's.
fn write(dir: &Path, name: &str, unit: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(old) if !old.starts_with(MARK) => {
            bail!("{} was not written by this command: move it away first, or use --print", path.display())
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("read {}", path.display()));
        }
        _ => {}
    }
    fs::write(&path, unit).with_context(|| format!("write {} (as root?)", path.display()))?;
    Ok(path)
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let status = Command::new("systemctl").args(arguments).status().context("run systemctl")?;
    if !status.success() {
        bail!("`systemctl {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MARK, quoted, unit, write};

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        for (word, wanted) in [
            ("--listen", "--listen"),
            ("0.0.0.0:443", "0.0.0.0:443"),
            ("a b", "\"a b\""),
            ("50%", "\"50%%\""),
            ("$HOME", "\"$$HOME\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(word), wanted);
        }
    }

    #[test]
    fn systemd_takes_the_unit() {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["--config".to_owned(), "/etc/war ren/50%.toml".to_owned()];
        let path = write(dir.path(), "warren.service", &unit("/bin/true".as_ref(), &arguments)).unwrap();
        let verified = std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output();
        let Ok(verified) = verified else {
            return testkit::skip("systemd-analyze is not installed");
        };
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(!said.contains("warren.service"), "{said}");
    }

    #[test]
    fn a_unit_of_somebody_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("warren.service"), "[Unit]\n").unwrap();
        assert!(write(dir.path(), "warren.service", MARK).unwrap_err().to_string().contains("--print"));
        std::fs::write(dir.path().join("warren.service"), MARK).unwrap();
        write(dir.path(), "warren.service", "new").unwrap();
    }
}

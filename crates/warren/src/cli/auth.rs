//! `warren auth …`: which server and key the other commands use.

use std::fs;
use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use rustix::termios::{self, LocalModes, OptionalActions};
use sdk::{Config, Templates};
use serde_json::json;

use super::form::{Form, print_json};
use super::server::{self, Stored};
use crate::config::variable;

/// The longest key that is read from a file or a pipe.
const LONGEST_KEY: u64 = 4096;

/// What to do with the stored server and key.
#[derive(Debug, Args)]
#[command(
    after_help = "E2B_API_KEY goes before the stored key. E2B_API_URL, E2B_SANDBOX_URL and E2B_DOMAIN name another \
                        server; the stored key is not sent there."
)]
pub(crate) struct Command {
    #[command(flatten)]
    form: Form,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Store a server's address and a key, after asking the server whether it knows the key.
    #[command(after_help = "Examples:\n  sudo cat /var/lib/warren/api-key | warren auth login\n  \
                            warren auth login --domain sbx.example --key-file key.txt")]
    Login(Login),
    /// Forget the stored server and key.
    Logout,
    /// Say which server and key are used, where they come from, and whether they do.
    #[command(visible_alias = "info", after_help = "Example: warren auth status --json")]
    Status,
}

/// Options of `login`.
#[derive(Debug, Args)]
struct Login {
    /// The server's address.
    #[arg(long, value_name = "URL", default_value = server::DEFAULT_URL)]
    url: String,
    /// A domain, where the server has one: its API is at `https://api.DOMAIN`.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    domain: Option<String>,
    /// Read the key from this file; without, from standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command.act {
        Act::Login(login) => log_in(login, command.form).await,
        Act::Logout => log_out(command.form),
        Act::Status => status(command.form).await,
    }
}

async fn log_in(login: Login, form: Form) -> Result<ExitCode> {
    let api_key = read_key(&login)?;
    let url = if login.domain.is_some() { None } else { Some(server::checked_url(&login.url)?) };
    let stored = Stored { url, domain: login.domain, api_key };
    ask(&stored.config()?).await.with_context(|| format!("log in to {}", stored.address()))?;
    let file = server::store(&stored)?;
    if form.json {
        print_json(&json!({ "server": stored.address(), "file": file }))?;
    } else if !form.quiet {
        println!("Logged in to {}; stored in {}.", stored.address(), file.display());
        if let Some(name) = server::overridden() {
            println!("{name} is set and names the server instead: unset it to use this one.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn log_out(form: Form) -> Result<ExitCode> {
    let file = server::file()?;
    let was = match fs::remove_file(&file) {
        Ok(()) => true,
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(e).with_context(|| format!("remove {}", file.display())),
    };
    if form.json {
        print_json(&json!({ "loggedOut": was }))?;
    } else if !form.quiet {
        println!("{}", if was { "Logged out." } else { "Nothing was stored." });
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(form: Form) -> Result<ExitCode> {
    let config = server::config()?;
    let source = |own: bool, name: &str| if own { name.to_owned() } else { "warren auth login".to_owned() };
    let server_from = server::overridden().map_or_else(
        || if matches!(server::stored(), Ok(Some(_))) { source(false, "") } else { "the default".to_owned() },
        |name| source(true, name),
    );
    let key_from = source(variable("E2B_API_KEY").is_some(), "E2B_API_KEY");
    let asked = ask(&config).await;
    if form.json {
        print_json(&json!({
            "server": config.api_url, "serverFrom": server_from, "key": masked(&config.api_key),
            "keyFrom": key_from, "accepted": asked.is_ok(), "error": asked.as_ref().err().map(ToString::to_string),
        }))?;
    } else if form.quiet {
        println!("{}", config.api_url);
    } else {
        println!("server  {}  (from {server_from})", config.api_url);
        println!("key     {}  (from {key_from})", masked(&config.api_key));
        println!("accepted: {}", asked.as_ref().map_or_else(|e| format!("no: {e}"), |()| "yes".to_owned()));
    }
    Ok(if asked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the server knows the key.
async fn ask(config: &Config) -> Result<(), sdk::Error> {
    Templates::new(config).list().await.map(drop)
}

/// Enough of a key to tell it from others.
fn masked(key: &str) -> String {
    let (start, end) = (key.get(..6), key.len().checked_sub(4).and_then(|at| key.get(at..)));
    match (start, end) {
        (Some(start), Some(end)) if key.len() >= 16 => format!("{start}…{end}"),
        _ => "…".to_owned(),
    }
}

fn read_key(login: &Login) -> Result<String> {
    let mut text = String::new();
    match &login.key_file {
        Some(file) => {
            let opened = fs::File::open(file).with_context(|| format!("open {}", file.display()))?;
            opened.take(LONGEST_KEY).read_to_string(&mut text).context("read the key")?;
        }
        None if io::stdin().is_terminal() => {
            eprint!("API key: ");
            let hidden = Hidden::enter()?;
            io::stdin().lock().read_line(&mut text).context("read the key")?;
            drop(hidden);
            eprintln!();
        }
        None => {
            io::stdin().lock().take(LONGEST_KEY).read_to_string(&mut text).context("read the key")?;
        }
    }
    let key = text.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        bail!("there is no key: `warren up` prints one, and `warren key create NAME` makes one");
    }
    Ok(key.to_owned())
}

/// A terminal that does not show what is typed; dropping it makes it show again.
struct Hidden(termios::Termios);

impl Hidden {
    fn enter() -> Result<Self> {
        let before = termios::tcgetattr(io::stdin()).context("read the terminal's mode")?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &hidden).context("hide what is typed")?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn little_of_a_key_is_shown() {
        assert_eq!(masked("e2b_0123456789abcdef"), "e2b_01…cdef");
        assert_eq!(masked("short"), "…");
        assert_eq!(masked("éééééééééééé"), "ééé…éé");
    }
}

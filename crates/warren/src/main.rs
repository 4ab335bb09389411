//! The one host binary: `warren up` runs the server, everything else is for its users.
//!
//! `main` decides only which command runs. The server's parts are put together
//! in [`up`], and nowhere else; user commands go through the client library, as
//! any program would.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line for people")]

mod cli;
mod closed_pipe;
mod config;
mod guest_layer;
mod join;
mod listen;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Self-hosted sandboxes for AI-generated code that speak E2B's protocols.
#[derive(Debug, Parser)]
#[command(name = "warren", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Up(Box<up::Args>),
    /// Tell what this host lacks to run sandboxes, and what to do about it.
    Doctor(cli::doctor::Command),
    /// Write a unit of systemd for `warren up` and start it; sandboxes outlive its restarts.
    InstallService(cli::service::Args),
    /// Create, use and remove sandboxes of a running server.
    #[command(visible_alias = "sbx")]
    Sandbox(cli::sandbox::Command),
    /// Store, forget and show the server and key that commands use.
    Auth(cli::auth::Command),
    /// Make, list, rename and revoke API keys of a running server, as its operator.
    Key(cli::key::Command),
    /// Start, build, list, publish and delete templates of a running server.
    #[command(visible_alias = "tpl")]
    Template(cli::template::Command),
    /// Make, list and change teams of a running server, as its operator.
    Team(cli::team::Command),
    /// Print completions for a shell.
    Completions(cli::shell::Completions),
    /// Write manual pages.
    Man(cli::shell::Man),
    /// Clone machines for the server at standard input; started by the server alone.
    #[command(hide = true)]
    Launcher,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if !matches!(command, Command::Up(_) | Command::Launcher) {
        closed_pipe::end_quietly();
    }
    let result = match command {
        Command::Up(args) => up::run(&args),
        Command::InstallService(args) => cli::service::run(&args),
        Command::Doctor(command) => cli::doctor::run(&command),
        Command::Launcher => {
            runtime::namespaces::Launcher::serve().map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Completions(args) => Ok(cli::shell::completions(&args, Cli::command())),
        Command::Man(args) => cli::shell::man(&args, Cli::command()),
        Command::Auth(command) => cli::run(cli::auth::run(command)),
        Command::Key(command) => cli::run(cli::key::run(command)),
        Command::Template(command) => cli::run(cli::template::run(command)),
        Command::Team(command) => cli::run(cli::team::run(command)),
        Command::Sandbox(command) => cli::run(cli::sandbox::run(command)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("warren: {error:#}");
        if let Some(step) = cli::next_step(&error) {
            eprintln!("        {step}");
        }
        ExitCode::FAILURE
    })
}

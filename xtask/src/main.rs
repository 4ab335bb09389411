//! The one entry point for people who build: `cargo xtask up` for those who
//! want a server, `cargo xtask test` for those who change one.
//!
//! Each verb is a module; what they share is the commands they run
//! ([`command`]), the packages they need ([`packages`]) and a server to talk to
//! ([`server`]). Nothing here is part of the product.
#![expect(clippy::print_stdout, reason = "a command line for people")]

mod attack;
mod bench;
mod build;
mod census;
mod check;
mod clients;
mod command;
mod criu;
mod demo;
mod desktop;
mod http;
mod old_kernel;
mod packages;
mod raw;
mod repo;
mod server;
mod simulated;
mod soak;
mod tally;
mod test;
mod up;
mod world;

use clap::{Parser, Subcommand};

/// Builds, runs, checks and measures Warren.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what is missing, build, and run the server in the foreground.
    Up(up::Args),
    /// All of `up`, then the two quick starts with the official SDKs, then stop.
    Demo(demo::Args),
    /// Formatting, lints, documentation, dependencies, spelling, generated files.
    Check(check::Args),
    /// `check`, the Rust tests, and the official clients against a real server.
    Test(test::Args),
    /// Create and kill for long, seeded; nothing may be left behind.
    Soak(soak::Args),
    /// Build the template `desktop`, and run the desktop SDKs against it.
    Desktop(desktop::Args),
    /// The numbers of SPECIFICATION.md, each next to its floor.
    Bench(bench::Args),
    /// The isolation suite: hostile programs as root inside a sandbox.
    Attack(attack::Args),
    /// The server on Linux 6.1 with systemd and cgroup version 2, in an emulated machine.
    OldKernel(old_kernel::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Up(args) => up::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Soak(args) => soak::run(&args),
        Verb::Desktop(args) => desktop::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Attack(args) => attack::run(&args),
        Verb::OldKernel(args) => old_kernel::run(&args),
    }
}

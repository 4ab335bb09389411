//! `cargo xtask check`: everything that can be said about the source without
//! running the product.

mod features;
mod licences;
mod rows;
mod spdx;
mod spelling;
mod table;
mod unused;

use std::process::Command;

use crate::command::{cargo, run as run_command};
use crate::tally::{Skip, Tally};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the checks whose name contains this text.
    #[arg(long)]
    only: Option<String>,
}

type Check = fn() -> anyhow::Result<Option<Skip>>;

const CHECKS: &[(&str, Check)] = &[
    ("formatting", || cargo_check(cargo().args(["fmt", "--all", "--check"]))),
    ("dependency table", || table::check().map(|()| None)),
    ("tests of features", || features::check().map(|()| None)),
    ("unused dependencies", || unused::check().map(|()| None)),
    ("licences and sources of dependencies", licences::check),
    ("feature rows", || rows::check().map(|()| None)),
    ("spelling", spelling::check),
    ("generated files", || crate::world::compatibility::check().map(|()| None)),
    ("lints", || {
        let lints = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
        cargo_check(cargo().args(lints))
    }),
    ("documentation", || {
        let doc = ["doc", "--release", "--workspace", "--no-deps", "--document-private-items"];
        cargo_check(cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
    }),
];

/// Runs the checks and closes with the score.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut tally = Tally::default();
    all(&mut tally, args.only.as_deref());
    tally.close()
}

/// Runs the checks into somebody else's score.
pub(crate) fn all(tally: &mut Tally, only: Option<&str>) {
    for (name, check) in CHECKS {
        if only.is_none_or(|only| name.contains(only)) {
            tally.step(name, check);
        }
    }
}

fn cargo_check(command: &mut Command) -> anyhow::Result<Option<Skip>> {
    run_command(command).map(|()| None)
}

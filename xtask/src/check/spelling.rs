//! Spelling, with `typos` from the system or from a Python package.

use crate::clients::python::Venv;
use crate::command::{command, exists, run};
use crate::tally::Skip;

/// The release whose dictionary `typos.toml` was tuned for.
const PACKAGE: &str = "typos==1.52.0";

/// Refuses a misspelled word; `typos.toml` lists what is meant as it stands.
pub(super) fn check() -> anyhow::Result<Option<Skip>> {
    let program = if exists("typos") {
        "typos".into()
    } else {
        match Venv::ensure("typos", &[PACKAGE]) {
            Ok(venv) => venv.program("typos"),
            Err(error) => return Ok(Some(Skip(format!("typos cannot be installed: {error:#}")))),
        }
    };
    run(command(program).args(["--format", "brief"]))?;
    Ok(None)
}

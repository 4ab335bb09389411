//! The targets of `fuzz/`: ten minutes of bytes of strangers for each reader,
//! where a nightly compiler and `cargo fuzz` are installed.

use std::process::Command;

use crate::command::{capture, command, run};
use crate::repo;
use crate::tally::{Skip, Tally};

/// Each names a reader.
const TARGETS: [&str; 6] = ["envelope", "layer", "message", "multipart", "path", "signature"];
/// Where they start from; what they find is added there, and the tests replay it.
fn seeds(target: &str) -> &'static str {
    if target == "layer" { "crates/node/tests/seeds" } else { "crates/wire/tests/seeds" }
}

/// Longest input, in bytes; beyond the longest head of a part.
const MAX_LEN: u32 = 20_000;

/// Runs every target for this long.
pub(super) fn run_all(seconds: u32, tally: &mut Tally) {
    for target in TARGETS {
        tally.step(&format!("fuzz target {target}, {seconds} s"), || match missing() {
            Some(reason) => Ok(Some(Skip(reason.to_owned()))),
            None => one(target, seconds).map(|()| None),
        });
    }
}

fn missing() -> Option<&'static str> {
    let works = |arguments: &[&str]| capture(rustup_cargo().args(arguments)).is_ok();
    if !works(&["--version"]) {
        Some("there is no nightly compiler")
    } else if !works(&["fuzz", "--version"]) {
        Some("`cargo fuzz` is not installed: `cargo install cargo-fuzz`")
    } else {
        None
    }
}

/// What it found lies below `target/fuzz` afterwards, named in the error's output.
fn one(target: &str, seconds: u32) -> anyhow::Result<()> {
    let home = repo::root().join("target/fuzz");
    let corpus = home.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let mut fuzz = rustup_cargo();
    fuzz.args(["fuzz", "run", "--fuzz-dir", "fuzz", target])
        .arg(corpus)
        .arg(repo::root().join(seeds(target)));
    fuzz.env("CARGO_TARGET_DIR", &home).arg("--");
    fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={MAX_LEN}"));
    fuzz.arg(format!("-artifact_prefix={}/{target}-", home.display()))
        .args(["-print_final_stats=1", "-verbosity=0"]);
    run(&mut fuzz)
}

/// Cargo through rustup, which alone knows `+nightly`.
fn rustup_cargo() -> Command {
    let mut cargo = command("cargo");
    // As cargo runs us, it names the compiler that we are built with.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    cargo.arg("+nightly");
    cargo
}

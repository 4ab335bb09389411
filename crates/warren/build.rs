//! Builds the guest as a static binary and leaves its path for `include_bytes!`.
//!
//! Plain `cargo build`, clippy and nextest all work: whoever compiles this crate
//! gets the guest that fits. The guest has a target directory of its own below
//! the workspace's, so that it compiles once, whatever profile asks.
//! `WARREN_GUEST=path` takes a ready binary instead.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    println!("cargo::rerun-if-env-changed=WARREN_GUEST");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let guest = env::var_os("WARREN_GUEST").map_or_else(|| build(&out), PathBuf::from);
    println!("cargo::rerun-if-changed={}", guest.display());
    fs::copy(&guest, out.join("guest")).unwrap_or_else(|e| panic!("copying {}: {e}", guest.display()));
}

fn build(out: &Path) -> PathBuf {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let workspace =
        manifest.ancestors().nth(2).expect("the crate lies two levels below the workspace").to_owned();
    for source in ["crates/guest", "crates/wire", "crates/sys", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    let target_dir = target_dir(out).join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo.current_dir(&workspace);
    cargo.args(["build", "--locked", "--package", "warren-guest", "--bin", "warren-guest"]);
    cargo.args(["--profile", "guest", "--target", TARGET]);
    // What the outer cargo set for itself, or for clippy, must not reach the inner one.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let foreign = [
            "CARGO_ENCODED_",
            "CARGO_PKG_",
            "CARGO_CFG_",
            "CARGO_FEATURE_",
            "CARGO_MANIFEST",
            "RUSTC",
            "CLIPPY",
        ];
        if foreign.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO_MAKEFLAGS" {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", &target_dir).env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = cargo.status().unwrap_or_else(|e| panic!("starting cargo for the guest: {e}"));
    assert!(status.success(), "building the guest failed");
    target_dir.join(TARGET).join("guest/warren-guest")
}

/// `OUT_DIR` is `<target>/<profile>/build/<package>/out`.
fn target_dir(out: &Path) -> PathBuf {
    out.ancestors().nth(4).expect("OUT_DIR lies below the target directory").to_owned()
}

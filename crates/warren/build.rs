//! Builds the guest as a static binary, lists the files of the built-in recipes,
//! and leaves both for `include!`.
//!
//! Plain `cargo build`, clippy and nextest all work: whoever compiles this crate
//! gets the guest that fits. The guest has a target directory of its own below
//! the workspace's, so that it compiles once, whatever profile asks.
//! `WARREN_GUEST=path` takes a ready binary instead.

use std::os::unix::fs::PermissionsExt as _;
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
    list_recipes(&out);
}

/// Writes `recipes.rs`: path below `templates/`, mode and content of every file.
fn list_recipes(out: &Path) {
    let templates = workspace().join("templates");
    println!("cargo::rerun-if-changed={}", templates.display());
    let mut files = Vec::new();
    files_below(&templates, &mut files);
    files.sort();
    let rows = files.iter().map(|file| {
        let name = file.strip_prefix(&templates).expect("it lies below");
        let mode = fs::metadata(file).expect("it was listed").permissions().mode() & 0o777;
        let (name, file) = (name.to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
        format!("    ({name:?}, {mode:#o}, include_bytes!({file:?})),\n")
    });
    let text = format!("[\n{}]\n", rows.collect::<String>());
    fs::write(out.join("recipes.rs"), text).expect("OUT_DIR is writable");
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("reading {}: {e}", dir.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        // What an interpreter or an editor leaves beside the files is none of them.
        if name.to_string_lossy().starts_with("__pycache__") || name.to_string_lossy().ends_with('~') {
            continue;
        }
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

fn workspace() -> PathBuf {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("the crate lies two levels below the workspace").to_owned()
}

fn build(out: &Path) -> PathBuf {
    let workspace = workspace();
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

//! A server that does not come up leaves nothing mounted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a server says that does not start on this state directory.
fn failure(dir: &Path, more: &[&str]) -> String {
    let lane: u8 = std::env::var("WARREN_TEST_LANE").ok().and_then(|lane| lane.parse().ok()).unwrap_or(0);
    let settings = format!(
        "instance = \"fails{lane}\"\n[network]\nrange = \"10.{}.0.0/16\"\ninterface_prefix = \"wf{lane}\"\n",
        180 + lane % 40
    );
    fs::write(dir.join("config.toml"), settings).unwrap();
    let mut up = Command::new(env!("CARGO_BIN_EXE_warren"));
    up.args(["up", "--no-debug-ports", "--listen", "127.0.0.1:0", "--config"]).arg(dir.join("config.toml"));
    up.arg("--state-dir").arg(dir.join("state")).args(more).stdin(Stdio::null());
    let output = up.env_remove("WARREN_LISTEN").env_remove("WARREN_STATE_DIR").output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn mounts(dir: &Path) -> Vec<String> {
    let all = fs::read_to_string("/proc/self/mounts").unwrap();
    all.lines().filter(|line| line.contains(dir.to_str().unwrap())).map(str::to_owned).collect()
}

#[test]
fn a_start_that_fails_leaves_nothing_mounted() {
    if !rustix::process::geteuid().is_root() {
        return testkit::skip("needs root");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let secured = ["--domain", "sbx.example", "--tls-certificate", "/absent.crt", "--tls-key", "/absent.key"];
    let told = failure(dir.path(), &secured);
    assert!(told.contains("/absent.crt"), "{told}");
    assert_eq!(mounts(dir.path()), Vec::<String>::new());

    // What is found out only when the state file system is mounted.
    fs::write(dir.path().join("state/warren.db"), "this is no database, however long it is looked at")
        .unwrap();
    let told = failure(dir.path(), &[]);
    assert!(told.contains("open the database"), "{told}");
    assert_eq!(mounts(dir.path()), Vec::<String>::new());
}

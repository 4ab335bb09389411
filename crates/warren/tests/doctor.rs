//! What `warren doctor` says of settings, and that its trial of checkpoints leaves
//! nothing, also when it is killed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn doctor(state: &Path, more: &[&str]) -> Command {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_warren"));
    doctor.args(["doctor", "--json", "--no-debug-ports", "--listen", "127.0.0.1:0", "--state-dir"]);
    doctor.arg(state).args(more).env_remove("WARREN_LISTEN").env_remove("WARREN_STATE_DIR");
    doctor.stdin(Stdio::null());
    doctor
}

/// Its findings by name, and whether it was content.
fn findings(mut doctor: Command) -> (Vec<Value>, bool) {
    let output = doctor.output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (said.as_array().unwrap().clone(), output.status.success())
}

fn of<'a>(findings: &'a [Value], name: &str) -> &'a Value {
    findings.iter().find(|finding| finding["capability"] == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn settings_are_those_of_up_and_what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (all, content) = findings(doctor(&state, &["--isolation", "sim"]));
    assert!(content, "{all:?}");
    assert!(of(&all, "state_dir")["detail"].as_str().unwrap().contains("will be made"));
    assert!(!state.exists());

    let file = dir.path().join("config.toml");
    fs::write(&file, "isolation = \"sim\"\n[tls]\ncertificate = \"/absent.crt\"\nkey = \"/absent.key\"\n")
        .unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let (all, content) = findings(doctor(&state, &config));
    assert!(!content);
    assert!(of(&all, "tls")["detail"].as_str().unwrap().contains("/absent.crt"), "{all:?}");

    fs::write(&file, "isolation = \"sim\"\n\n[nod]\ncriu = 1\n").unwrap();
    let (all, content) = findings(doctor(&state, &config));
    let detail = of(&all, "settings")["detail"].as_str().unwrap();
    assert!(!content && detail.contains("line 3") && detail.contains("nod"), "{detail}");

    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    let (all, content) = findings(doctor(&state, &["--isolation", "sim", "--listen", &taken]));
    assert!(!content && of(&all, "listen.main")["detail"].as_str().unwrap().contains(&taken), "{all:?}");
}

fn fetched_tool() -> Option<PathBuf> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/criu/usr/sbin/criu");
    let found = tool.canonicalize().ok().filter(|_| rustix::process::geteuid().is_root());
    if found.is_none() {
        testkit::skip("needs root and the checkpoint tool in target/criu");
    }
    found
}

/// A state directory, and settings with this tool.
fn with_tool(dir: &Path, tool: &Path) -> PathBuf {
    fs::create_dir(dir.join("state")).unwrap();
    let file = dir.join("config.toml");
    fs::write(&file, format!("[node]\ncriu = {:?}\n", tool.display().to_string())).unwrap();
    file
}

/// What exists of doctors below a state directory, in control groups and of mounts.
fn left(state: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path().display().to_string()).collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    all.extend(mounts.lines().filter(|line| line.contains(state.to_str().unwrap())).map(str::to_owned));
    all
}

/// The control groups of the doctor that works, or worked, below a state directory.
fn groups(state: &Path) -> Vec<PathBuf> {
    let Ok(meta) = fs::metadata(state.join(".warren-doctor")) else { return Vec::new() };
    let name = format!("warren-doctor-{:x}-{:x}", meta.dev(), meta.ino());
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path());
    hierarchies.chain([top.to_owned()]).map(|dir| dir.join(&name)).filter(|dir| dir.exists()).collect()
}

#[test]
fn memory_is_tried_and_nothing_is_left() {
    let Some(tool) = fetched_tool() else { return };
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (config, state) = (with_tool(dir.path(), &tool), dir.path().join("state"));
    let (all, _) = findings(doctor(&state, &["--config", config.to_str().unwrap()]));
    let tried = of(&all, "pauses with memory");
    assert!(tried["ok"] == true && tried["detail"].as_str().unwrap().contains("tried in"), "{tried}");
    assert_eq!(left(&state), Vec::<String>::new());
}

#[test]
fn a_tool_that_cannot_is_told_in_its_own_words() {
    let Some(tool) = fetched_tool() else { return };
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    // A tree as the tool's, in which its place has something else.
    let usr = dir.path().join("tree/usr");
    fs::create_dir_all(usr.join("sbin")).unwrap();
    for name in ["bin", "lib", "lib64"] {
        let from = tool.ancestors().nth(2).unwrap().join(name);
        if from.exists() {
            let copied = Command::new("cp").arg("-a").arg(from).arg(usr.join(name)).status().unwrap();
            assert!(copied.success());
        }
    }
    fs::copy(&tool, usr.join("sbin/criu")).unwrap();
    // It starts and knows its version, and cannot pack what a machine has mounted.
    fs::remove_file(usr.join("bin/tar")).unwrap();
    let (config, state) = (with_tool(dir.path(), &usr.join("sbin/criu")), dir.path().join("state"));
    let (all, _) = findings(doctor(&state, &["--config", config.to_str().unwrap()]));
    let tried = of(&all, "pauses with memory");
    let detail = tried["detail"].as_str().unwrap();
    assert!(tried["ok"] == false && detail.contains("the checkpoint tool says"), "{tried}");
    assert!(detail.contains("not possible to write a machine down"), "{tried}");
    assert_eq!(left(&state), Vec::<String>::new());
}

#[test]
fn a_killed_doctor_is_cleared_away_by_the_next() {
    let Some(tool) = fetched_tool() else { return };
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (config, state) = (with_tool(dir.path(), &tool), dir.path().join("state"));
    let config = ["--config", config.to_str().unwrap()];
    let mut killed = doctor(&state, &config).stdout(Stdio::null()).spawn().unwrap();
    let limit = Instant::now() + Duration::from_mins(2);
    // In the middle: it has control groups, so it has a machine or makes one.
    let has_machine = || groups(&state).iter().any(|dir| dir.join("itrialfirst").exists());
    while !has_machine() && killed.try_wait().unwrap().is_none() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let before = groups(&state);
    let (all, _) = findings(doctor(&state, &config));
    assert_eq!(of(&all, "pauses with memory")["ok"], true, "{all:?}");
    assert_eq!(left(&state), Vec::<String>::new());
    assert!(before.iter().all(|dir| !dir.exists()), "{before:?}");
}

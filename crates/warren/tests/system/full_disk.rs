//! A server whose disk fills up: clear answers, kills that work, nothing damaged,
//! and an ordinary life again as soon as there is room.
//!
//! The disk is a small file system in memory that only the server's own mount
//! namespace has, so the test needs no root and leaves nothing mounted.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sdk::{Admin, ErrorKind, Sandbox, SnapshotMode};
use wire::rest::NewTeam;

use crate::server::{Server, command, not_found, template};

/// A server with a state directory of 64 MiB.
fn start_on_a_small_disk(state: &Path, seed: &Path) -> Server {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    unshare.arg(r#"mount -t tmpfs -o size=64m none "$1" && cp -r "$2/." "$1" && shift 2 && exec "$@""#);
    unshare.arg("sh").arg(state).arg(seed).arg(env!("CARGO_BIN_EXE_warren"));
    let mut command = command(unshare, state);
    // What is promised to sandboxes is not what this is about.
    fs::write(seed.join("server.toml"), "[node]\ndisk_overcommit = 100000.0\n").unwrap();
    command.arg("--config").arg(state.join("server.toml"));
    Server::run(command)
}

/// Fills a file system to the last byte; removing the file makes room again.
fn fill(file: &Path) {
    let mut open = fs::File::create(file).unwrap();
    let mut piece = 64 << 10;
    while piece > 0 {
        if open.write_all(&vec![b'x'; piece]).is_err() {
            piece /= 2;
        }
    }
}

/// Creates until the disk is in the way; only two outcomes are allowed.
async fn refused_create(server: &Server) -> sdk::Error {
    for _ in 0..50 {
        if let Err(error) = Sandbox::create(&server.config).await {
            return error;
        }
    }
    panic!("fifty sandboxes fit on a full disk");
}

#[tokio::test]
async fn a_full_disk_is_said_survived_and_left_behind() {
    let (seed, mount) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    template(seed.path());
    let server = start_on_a_small_disk(mount.path(), seed.path());
    let (one, two) =
        (Sandbox::create(&server.config).await.unwrap(), Sandbox::create(&server.config).await.unwrap());

    let inside = PathBuf::from(format!("/proc/{}/root{}", server.pid(), mount.path().display()));
    let ballast = inside.join("ballast");
    fill(&ballast);
    let refused = refused_create(&server).await;
    assert_eq!(refused.status(), Some(507), "{refused}");
    assert!(refused.to_string().contains("full"), "{refused}");
    // A deadline is written over the one before, and so needs no room.
    let before = two.info().await.unwrap().end_at;
    two.set_timeout(Duration::from_mins(30)).await.unwrap();
    assert!(two.info().await.unwrap().end_at > before);
    // A team that was answered for is there.
    let token = fs::read_to_string(inside.join("admin-token")).unwrap();
    let admin = Admin::new(&server.url, token.trim()).unwrap();
    let (mut made, mut refused) = (Vec::new(), 0);
    for n in 0..100 {
        let new = NewTeam { name: format!("team {n} {}", "x".repeat(100)), slug: None, max_sandboxes: None };
        match admin.make_team(&new).await {
            Ok(team) => made.push(team.team_id),
            Err(error) => {
                assert_eq!(error.status(), Some(507), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "a hundred teams fit on a full disk");
    let there: Vec<String> = admin.teams().await.unwrap().into_iter().map(|team| team.team_id).collect();
    let lost: Vec<_> = made.iter().filter(|id| !there.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?} of {} made", made.len());
    // Nothing of these is written down, and it runs on.
    for mode in [SnapshotMode::Full, SnapshotMode::Filesystem] {
        let unpaused = two.pause_with(mode, false).await.unwrap_err();
        assert_eq!(unpaused.status(), Some(507), "{mode:?}: {unpaused}");
        let untaken = two.create_snapshot_with(None, mode).await.unwrap_err();
        assert_eq!(untaken.status(), Some(507), "{mode:?}: {untaken}");
        assert!(two.is_running().await.unwrap(), "{mode:?}");
    }

    assert!(one.kill().await.unwrap(), "killing makes room, so it needs none");
    assert_eq!(one.info().await.unwrap_err().kind(), ErrorKind::SandboxNotFound);
    assert!(!one.kill().await.unwrap());
    assert!(two.is_running().await.unwrap());

    // What a crash at this very moment would leave is a whole state directory.
    let crashed = tempfile::tempdir().unwrap();
    snapshot(&server, &inside, crashed.path());
    let after = Server::start(crashed.path());
    let lost = not_found(&after.config, two.id()).await;
    assert!(lost.to_string().contains("its host was restarted or lost it"), "{lost}");
    Sandbox::create(&after.config).await.unwrap();

    fs::remove_file(&ballast).unwrap();
    two.set_timeout(Duration::from_mins(30)).await.unwrap();
    let three = Sandbox::create(&server.config).await.unwrap();
    assert!(three.is_running().await.unwrap());
    let said = one.info().await.unwrap_err().to_string();
    assert!(said.contains("killed by a request"), "{said}");
}

/// Copies the directory of a server that stands still meanwhile, less the ballast.
fn snapshot(server: &Server, from: &Path, to: &Path) {
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &server.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP");
    let copy = r#"cd "$1" && tar --exclude=./ballast -cf - . | tar -C "$2" -xf -"#;
    let copied = Command::new("sh").args(["-c", copy, "sh"]).arg(from).arg(to).status().unwrap();
    signal("-CONT");
    assert!(copied.success());
}

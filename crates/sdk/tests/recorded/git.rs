//! Git, for real: the commands run in a shell of this machine, with a home of their own.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use serde_json::json as value;
use warren_sdk::{CloneOptions, ErrorKind, Login, ResetMode, Scope};

use super::*;
use crate::mock::stream;

/// A sandbox whose commands run here.
async fn here(home: PathBuf) -> (Mock, Sandbox) {
    sandbox(move |seen| {
        let request = seen.enveloped();
        let line = request["process"]["args"][2].as_str().unwrap().to_owned();
        let mut shell = Command::new("bash");
        shell.args(["-c", &line]).current_dir(&home).env("HOME", &home).env("GIT_CONFIG_NOSYSTEM", "1");
        for (name, text) in request["process"]["envs"].as_object().into_iter().flatten() {
            shell.env(name, text.as_str().unwrap());
        }
        let output = shell.output().unwrap();
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let code = output.status.code().unwrap();
        let mut events = vec![value!({ "event": { "start": { "pid": 7 } } })];
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                events.push(value!({ "event": { "data": { name: encode(bytes) } } }));
            }
        }
        events.push(value!({ "event": { "end": { "exitCode": code, "exited": true } } }));
        stream(&events)
    })
    .await
}

#[tokio::test]
async fn repositories_are_made_changed_and_cloned() {
    let home = tempfile::tempdir().unwrap();
    let (_mock, sandbox) = here(home.path().to_owned()).await;
    let git = sandbox.git();
    let write = |path: &str, text: &str| std::fs::write(home.path().join(path), text).unwrap();
    git.init("bare", true, Some("main")).await.unwrap();
    git.init("repo", false, Some("main")).await.unwrap();
    git.configure_user("A B", "a@b", Scope::Global).await.unwrap();
    assert_eq!(git.get_config("user.name", Scope::Global).await.unwrap().as_deref(), Some("A B"));
    assert_eq!(git.get_config("no.such", Scope::Local("repo")).await.unwrap(), None);
    git.set_config("core.fileMode", "false", Scope::Local("repo")).await.unwrap();

    write("repo/a file", "1");
    assert!(git.status("repo").await.unwrap().files[0].is_untracked());
    git.add("repo", &["a file"]).await.unwrap();
    assert!(git.status("repo").await.unwrap().files[0].is_staged());
    git.commit("repo", "it's one", Some(("C", "c@d")), false).await.unwrap();
    git.commit("repo", "two", None, true).await.unwrap();
    git.reset("repo", Some(ResetMode::Hard), Some("HEAD~1"), &[]).await.unwrap();

    git.create_branch("repo", "side").await.unwrap();
    git.checkout_branch("repo", "main").await.unwrap();
    let branches = git.branches("repo").await.unwrap();
    assert_eq!((branches.current.as_deref(), branches.branches.len()), (Some("main"), 2));
    git.delete_branch("repo", "side", true).await.unwrap();

    write("repo/a file", "2");
    git.restore("repo", &["a file"], false, true, None).await.unwrap();
    assert!(git.status("repo").await.unwrap().is_clean());
    assert_eq!(
        git.restore("repo", &[], true, true, None).await.unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );

    assert_eq!(git.remote_get("repo", "origin").await.unwrap(), None);
    git.remote_add("repo", "origin", "nowhere", false, false).await.unwrap();
    git.remote_add("repo", "origin", "../bare", true, true).await.unwrap();
    assert_eq!(git.remote_get("repo", "origin").await.unwrap().as_deref(), Some("../bare"));
    git.push("repo", None, None, true, None).await.unwrap();
    let options =
        CloneOptions { path: Some("copy"), branch: Some("main"), depth: Some(1), ..CloneOptions::default() };
    git.clone_repository("bare", options).await.unwrap();
    git.pull("copy", None, None, None).await.unwrap();
    assert_eq!(git.status("copy").await.unwrap().upstream.as_deref(), Some("origin/main"));

    let login = Login { username: "me", password: "token" };
    git.dangerously_authenticate(login, "git.example", "https").await.unwrap();
    let stored = std::fs::read_to_string(home.path().join(".git-credentials")).unwrap();
    assert_eq!(stored.trim(), "https://me:token@git.example");
}

#[tokio::test]
async fn git_says_why_in_words() {
    let home = tempfile::tempdir().unwrap();
    let (_mock, sandbox) = here(home.path().to_owned()).await;
    let git = sandbox.git();
    git.init("repo", false, None).await.unwrap();
    assert_eq!(git.pull("repo", None, None, None).await.unwrap_err().kind(), ErrorKind::GitUpstream);
    assert_eq!(git.status("nowhere").await.unwrap_err().kind(), ErrorKind::CommandExit);
    // A remote whose helper refuses, as a server without a login would.
    let refusing = "ext::sh -c 'echo Authentication failed >&2; exit 1'";
    git.set_config("protocol.ext.allow", "always", Scope::Global).await.unwrap();
    let refused = git.clone_repository(refusing, CloneOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::GitAuth, "{refused}");
    // A login that fails is taken out of the remote again.
    git.remote_add("repo", "origin", "http://127.0.0.1:1/x", false, false).await.unwrap();
    let login = Login { username: "me", password: "token" };
    git.pull("repo", Some("origin"), Some("main"), Some(login)).await.unwrap_err();
    assert_eq!(git.remote_get("repo", "origin").await.unwrap().as_deref(), Some("http://127.0.0.1:1/x"));
}

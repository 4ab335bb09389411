//! Templates: the whole way of a build, and tags.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json as value;
use warren_sdk::{BuildOptions, BuildStatus, ErrorKind, Ready, Template};

use super::*;

/// A server that builds; `end` is the state at the end.
async fn builder(end: &'static str, present: bool) -> Mock {
    let polls = AtomicUsize::new(0);
    Mock::start(move |seen| {
        let path = seen.path.as_str();
        let host = seen.header("host").unwrap();
        let entry = |message: &str| value!({ "timestamp": "2026-11-21T10:00:00Z", "level": "info", "message": message });
        match seen.method.as_str() {
            _ if path == "/v3/templates" => json(
                202,
                &value!({ "templateID": "t1", "buildID": "b1", "public": false, "names": ["d/x"], "tags": ["v1"], "aliases": ["x"] }),
            ),
            "PUT" => empty(200),
            _ if path.contains("/files/") => {
                json(201, &value!({ "present": present, "url": format!("http://{host}/upload?a=b"), "headers": { "x-a": "1" } }))
            }
            "POST" => empty(202),
            _ => {
                let (status, entries, reason) = match polls.fetch_add(1, Ordering::Relaxed) {
                    0 => ("building", vec![entry("one")], Value::Null),
                    1 => (end, vec![entry("two")], Value::Null),
                    _ => (end, vec![], value!({ "message": "exit status 1", "step": "1" })),
                };
                let reason = if end == "error" { reason } else { Value::Null };
                json(
                    200,
                    &value!({ "templateID": "t1", "buildID": "b1", "status": status, "logs": [], "logEntries": entries, "reason": reason }),
                )
            }
        }
    })
    .await
}

fn recipe(dir: &std::path::Path) -> Template {
    std::fs::write(dir.join("f.txt"), "content").unwrap();
    Template::from_image("debian").context(dir).copy("f.txt", "/f").run("false").ready(Ready::port(80))
}

#[tokio::test]
async fn a_build_sends_files_and_steps_and_follows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mock = builder("ready", false).await;
    let mut log = Vec::new();
    let options = BuildOptions::new("x:v1").tag("stable").cpu_count(1).memory_mib(512).min_free_disk_mib(100);
    let built =
        recipe(dir.path()).build(&mock.config, &options, |entry| log.push(entry.message.clone())).await;
    assert_eq!(built.unwrap().names, ["d/x"]);
    assert_eq!(log, ["one", "two"]);
    let sent = mock.seen();
    let asked =
        value!({ "name": "x:v1", "tags": ["stable"], "cpuCount": 1, "memoryMB": 512, "minFreeDiskMb": 100 });
    assert_eq!(sent[0].json(), asked);
    let upload = mock.last("/upload");
    assert_eq!(
        (upload.method.as_str(), upload.header("x-a"), upload.header("x-api-key")),
        ("PUT", Some("1"), None)
    );
    assert_eq!(upload.header("content-length"), Some(upload.body.len().to_string().as_str()));
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&upload.body[..]));
    let paths: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(paths, [std::path::PathBuf::from("f.txt")]);
    let definition = mock.last("/v2/templates/t1/builds/b1").json();
    let hash = sent[1].path.rsplit('/').next().unwrap();
    assert_eq!(
        definition["steps"][0],
        value!({ "type": "COPY", "args": ["f.txt", "/f", "", ""], "force": false, "filesHash": hash })
    );
    assert!(mock.lines().iter().any(|line| line.ends_with("status?logsOffset=1&limit=100")));
}

#[tokio::test]
async fn a_failed_build_names_its_step_and_present_files_are_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let mock = builder("error", true).await;
    let failed = recipe(dir.path()).build(&mock.config, &BuildOptions::new("x"), |_| {}).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Build);
    assert!(failed.to_string().contains("step 1: COPY f.txt"), "{failed}");
    assert!(!mock.lines().iter().any(|line| line.starts_with("PUT")));
    let info = recipe(dir.path()).build_in_background(&mock.config, &BuildOptions::new("x")).await.unwrap();
    assert_eq!(Template::build_status(&mock.config, &info, 0).await.unwrap().0, BuildStatus::Error);
}

#[tokio::test]
async fn names_and_tags() {
    let mock = Mock::start(|seen| match seen.line().as_str() {
        "GET /templates/aliases/mine" => json(200, &value!({ "templateID": "t", "public": false })),
        "GET /templates/aliases/theirs" => failure(403, "not yours"),
        "POST /templates/tags" => json(201, &value!({ "tags": ["a"], "buildID": "b1" })),
        "DELETE /templates/tags" => empty(204),
        "GET /templates/x/tags" => {
            json(200, &value!([{ "tag": "a", "buildID": "b1", "createdAt": "2026-11-21T10:00:00Z" }]))
        }
        _ => failure(404, "no such template"),
    })
    .await;
    let config = &mock.config;
    let mut found = Vec::new();
    for name in ["mine", "theirs", "nobodys"] {
        found.push(Template::exists(config, name).await.unwrap());
    }
    assert_eq!(found, [true, true, false]);
    assert_eq!(Template::assign_tags(config, "x:v1", &["a"]).await.unwrap(), "b1");
    assert_eq!(mock.last("/templates/tags").json(), value!({ "target": "x:v1", "tags": ["a"] }));
    Template::remove_tags(config, "x", &["a"]).await.unwrap();
    assert_eq!(mock.last("/templates/tags").json(), value!({ "name": "x", "tags": ["a"] }));
    assert_eq!(Template::tags(config, "x").await.unwrap()[0].tag, "a");
    assert_eq!(Template::tags(config, "y").await.unwrap_err().kind(), ErrorKind::Template);
}

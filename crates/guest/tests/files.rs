//! `/files`, the filesystem service, token and init over the wire.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[allow(dead_code, reason = "shared by several test binaries; none uses all of it")]
mod common;

use std::io::{Read, Write};

use common::with_guest;
use serde_json::json;
use wire::files::{Operation, signature};

const RAW: (&str, &str) = ("content-type", "application/octet-stream");

#[test]
fn health_and_cross_origin_questions_need_no_token() {
    with_guest(async |guest| {
        let health = guest.get("/health", &[]).await;
        assert_eq!((health.status, health.body.len()), (204, 0));
        assert_eq!(health.header("access-control-allow-origin"), "*");
        guest
            .control("POST", "/init", r#"{"accessToken":"secret","envVars":{"A":"b"},"sandboxId":"sbx"}"#)
            .await;
        assert_eq!(guest.get("/health", &[]).await.status, 204);
        let refused = guest.get("/envs", &[]).await;
        assert_eq!((refused.status, refused.json()["code"].clone()), (401, json!(401)));
        assert_eq!(guest.call("/process.Process/List", "{}").await.status, 401);
        let envs = guest.get("/envs", &[("x-access-token", "secret")]).await.json();
        assert_eq!(envs, json!({"A": "b", "E2B_SANDBOX": "true", "E2B_SANDBOX_ID": "sbx"}));
        assert_eq!(guest.control("POST", "/init", "{").await.status, 400);
        guest.control("POST", "/init", r#"{"accessToken":""}"#).await;
        assert_eq!(guest.get("/envs", &[]).await.status, 200);
    });
}

#[test]
fn the_host_socket_is_not_the_clients_port() {
    with_guest(async |guest| {
        for path in ["/init", "/status", "/upgrade", "/freeze"] {
            assert_eq!(guest.post(path, &[], b"{}").await.status, 404, "{path}");
        }
        let status = guest.control("GET", "/status", "").await.json();
        assert_eq!(status, json!({"envdVersion": wire::control::ENVD_VERSION}));
    });
}

#[test]
fn signed_urls_open_one_file() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f").to_string_lossy().into_owned();
        guest.control("POST", "/init", r#"{"accessToken":"t"}"#).await;
        let url = |operation, expiration: Option<i64>| {
            let signature = signature(&path, operation, "", "t", expiration).replace('+', "%2B");
            let expiration = expiration.map(|at| format!("&signature_expiration={at}")).unwrap_or_default();
            format!("/files?path={path}&signature={signature}{expiration}")
        };
        assert_eq!(guest.post(&url(Operation::Write, None), &[RAW], b"x").await.status, 200);
        assert_eq!(guest.get(&url(Operation::Read, Some(4_000_000_000)), &[]).await.body, "x");
        assert_eq!(guest.get(&url(Operation::Read, Some(1)), &[]).await.status, 401);
        assert_eq!(guest.get(&url(Operation::Write, None), &[]).await.status, 401);
        assert_eq!(guest.get(&format!("/files?path={path}"), &[("x-access-token", "no")]).await.status, 401);
        assert_eq!(guest.get(&format!("/files?path={path}"), &[("x-access-token", "t")]).await.status, 200);
    });
}

#[test]
fn a_long_file_comes_back_in_every_form() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let target = format!("/files?path={}/new/dir/f.bin", dir.path().display());
        let content: Vec<u8> =
            (0..3_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let written = guest.post(&target, &[RAW, ("x-metadata-Key", "v")], &content).await;
        assert_eq!(written.json()[0]["metadata"], json!({"key": "v"}));

        let whole = guest.get(&target, &[("accept-encoding", "gzip, deflate")]).await;
        assert_eq!(whole.header("content-length"), content.len().to_string());
        assert!(whole.body == content);
        let packed = guest.get(&target, &[("accept-encoding", "gzip")]).await;
        assert_eq!(packed.header("content-encoding"), "gzip");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == content);
        let part = guest.get(&target, &[("range", "bytes=1000000-1000009")]).await;
        assert_eq!((part.status, &part.body[..]), (206, &content[1_000_000..1_000_010]));
        assert_eq!(part.header("content-range"), "bytes 1000000-1000009/12000000");
        assert_eq!(guest.get(&target, &[("range", "bytes=99999999-")]).await.status, 416);
        let modified = whole.header("last-modified").to_owned();
        assert_eq!(guest.get(&target, &[("if-modified-since", &modified)]).await.status, 304);

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content).unwrap();
        let packed = gzip.finish().unwrap();
        let again = guest.post(&target, &[RAW, ("content-encoding", "gzip")], &packed).await;
        assert_eq!(again.status, 200);
        assert!(std::fs::read(dir.path().join("new/dir/f.bin")).unwrap() == content);
        let stat = format!(r#"{{"path":"{}/new/dir/f.bin"}}"#, dir.path().display());
        let entry = guest.call("/filesystem.Filesystem/Stat", &stat).await.json();
        assert_eq!(entry["entry"]["size"], "12000000");
        assert!(entry["entry"].get("metadata").is_none(), "an upload without metadata clears the old");
    });
}

#[test]
fn refusals_of_uploads_and_downloads() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("/files?path={}/{name}", dir.path().display());
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let get = async |target: String| guest.get(&target, &[]).await.status;
        assert_eq!(get(at("none")).await, 404);
        assert_eq!(get(at("")).await, 400);
        assert_eq!(get("/files?path=~other/x".into()).await, 400);
        assert_eq!(get(at("file&username=nosuchuser")).await, 401);
        let post = async |target: String, headers: &[(&str, &str)], body: &[u8]| {
            guest.post(&target, headers, body).await.status
        };
        assert_eq!(post(at(""), &[RAW], b"x").await, 400);
        assert_eq!(post("/files".into(), &[RAW], b"x").await, 400);
        assert_eq!(post(at("x"), &[], b"x").await, 400);
        assert_eq!(post(at("file/below"), &[RAW], b"x").await, 500);
        assert_eq!(post(at("x"), &[RAW, ("content-encoding", "br")], b"x").await, 400);
        assert_eq!(post(at("x"), &[RAW, ("content-encoding", "gzip")], b"not gzip").await, 400);
        let twice =
            "--b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\n1\r\n".repeat(2) + "--b--";
        assert_eq!(
            post(at("one"), &[("content-type", "multipart/form-data; boundary=b")], twice.as_bytes()).await,
            400
        );
        assert_eq!(std::fs::read(dir.path().join("one")).unwrap(), b"1");
        assert_eq!(
            guest
                .send(http::Request::delete("/files").body(http_body_util::Full::default()).unwrap())
                .await
                .status,
            405
        );
    });
}

#[test]
fn several_files_in_one_request_keep_their_directories() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let part = |name: &str, content: &str| {
            let path = dir.path().join(name);
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\r\n{content}\r\n",
                path.display()
            )
        };
        let body = part("a b/ü.txt", "one") + &part("c", "") + "--b--\r\n";
        let answer = guest
            .post("/files", &[("content-type", "multipart/form-data; boundary=b")], body.as_bytes())
            .await;
        assert_eq!(answer.json()[0]["name"], "ü.txt");
        assert_eq!(std::fs::read_to_string(dir.path().join("a b/ü.txt")).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(dir.path().join("c")).unwrap(), "");
    });
}

#[test]
fn a_small_new_file_is_three_events_at_once_visible() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let watch = format!(r#"{{"path":"{}","recursive":true}}"#, dir.path().display());
        let id = guest.call("/filesystem.Filesystem/CreateWatcher", &watch).await.body;
        let id = std::str::from_utf8(&id).unwrap().to_owned();
        let events = async || {
            let events =
                guest.call("/filesystem.Filesystem/GetWatcherEvents", &id).await.json()["events"].clone();
            let event = |event: &serde_json::Value| {
                format!("{} {}", event["type"].as_str().unwrap(), event["name"].as_str().unwrap())
            };
            events.as_array().map(|events| events.iter().map(event).collect::<Vec<_>>()).unwrap_or_default()
        };
        guest.post(&format!("/files?path={}/f", dir.path().display()), &[RAW], b"x").await;
        assert_eq!(events().await, ["EVENT_TYPE_CREATE f", "EVENT_TYPE_CHMOD f", "EVENT_TYPE_WRITE f"]);
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        assert_eq!(events().await, ["EVENT_TYPE_CREATE sub"]);
        std::fs::rename(dir.path().join("sub"), dir.path().join("moved")).unwrap();
        assert_eq!(events().await, ["EVENT_TYPE_RENAME sub", "EVENT_TYPE_CREATE moved"]);
        std::fs::write(dir.path().join("moved/x"), "").unwrap();
        assert_eq!(events().await, ["EVENT_TYPE_CREATE moved/x"]);
        assert_eq!(guest.call("/filesystem.Filesystem/RemoveWatcher", &id).await.status, 200);
        assert_eq!(guest.call("/filesystem.Filesystem/GetWatcherEvents", &id).await.status, 404);
    });
}

#[test]
fn composing_puts_files_together_and_removes_them() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let compose = async |sources: &[String], destination: &str| {
            let body = serde_json::json!({"source_paths": sources, "destination": destination});
            guest.post("/files/compose", &[], body.to_string().as_bytes()).await
        };
        std::fs::write(at("1"), "one ").unwrap();
        std::fs::write(at("2"), vec![b'2'; 300_000]).unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("old"), "old").unwrap();
        for (sources, destination, status) in [
            (vec![], at("x"), 400),
            (vec![at("1")], String::new(), 400),
            (vec![at("1"), at("dir")], at("old"), 400),
            (vec![at("1")], at("dir"), 400),
            (vec![at("1"), at("old")], at("old"), 400),
            (vec![at("1"), at("none")], at("old"), 404),
            (vec![at("1")], at("old/below"), 500),
        ] {
            let answer = compose(&sources, &destination).await;
            assert_eq!(answer.status, status, "{sources:?} to {destination}: {:?}", answer.body);
        }
        assert_eq!(guest.post("/files/compose", &[], b"{").await.status, 400);
        let named = br#"{"source_paths":["a"],"destination":"b","username":"nosuchuser"}"#;
        assert_eq!(guest.post("/files/compose", &[], named).await.status, 401);
        assert_eq!(std::fs::read(at("old")).unwrap(), b"old", "a failure leaves what stood there");
        assert!(std::fs::exists(at("1")).unwrap());
        for destination in [at("new/all"), at("old")] {
            std::fs::write(at("1"), "one ").unwrap();
            std::fs::write(at("2"), vec![b'2'; 300_000]).unwrap();
            let answer = compose(&[at("1"), at("2")], &destination).await;
            assert_eq!((answer.status, &answer.json()["path"]), (200, &destination.as_str().into()));
            assert_eq!(answer.json()["type"], "file");
            assert!(std::fs::read(&destination).unwrap() == [&b"one "[..], &vec![b'2'; 300_000]].concat());
            assert!(!std::fs::exists(at("1")).unwrap() && !std::fs::exists(at("2")).unwrap());
        }
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("compose")), "{left:?}");
    });
}

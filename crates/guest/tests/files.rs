//! `/files`, the filesystem service, token and init over the wire.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[allow(dead_code, reason = "shared by several test binaries; none uses all of it")]
mod common;

use std::io::{Read, Write};
use std::time::Duration;

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

#[test]
fn several_ranges_and_conditions() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("digits.txt");
        std::fs::write(&path, "0123456789").unwrap();
        let target = format!("/files?path={}", path.display());
        let answer = guest.get(&target, &[("range", "bytes=1-2,-3,40-")]).await;
        assert_eq!(answer.status, 206);
        let boundary = answer.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
        let part = |range: &str, content: &str| {
            format!(
                "--{boundary}\r\nContent-Range: bytes {range}/10\r\n\
                 Content-Type: text/plain; charset=utf-8\r\n\r\n{content}\r\n"
            )
        };
        let wanted = part("1-2", "12") + &part("7-9", "789") + &format!("--{boundary}--\r\n");
        assert_eq!(std::str::from_utf8(&answer.body).unwrap(), wanted);
        assert_eq!(answer.header("content-length"), wanted.len().to_string());
        let answer = guest.get(&target, &[("range", "bytes=0-5,2-9")]).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"0123456789"[..]));
        let answer = guest.get(&target, &[("range", "bytes=4-3")]).await;
        assert_eq!((answer.status, answer.header("content-range")), (416, "bytes */10"));
        for (name, value, status) in [
            ("if-none-match", "*", 304),
            ("if-match", "\"tag\"", 412),
            ("accept-encoding", "identity;q=0", 406),
        ] {
            assert_eq!(guest.get(&target, &[(name, value)]).await.status, status, "{name}");
        }
    });
}

#[test]
fn pipes_and_devices_hold_nobody_up() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let target = format!("/files?path={}", path.display());
        assert_eq!(guest.post(&target, &[RAW], b"nobody reads").await.status, 500);
        // More readers than the daemon has threads.
        let readers: Vec<_> = (0..20)
            .map(|_| {
                let target = target.clone();
                tokio::task::spawn_local(async move { guest.get(&target, &[]).await })
            })
            .collect();
        let big = vec![b'x'; 200_000];
        let file = format!("/files?path={}/file", dir.path().display());
        assert_eq!(guest.post(&file, &[RAW], &big).await.status, 200);
        assert!(guest.get(&file, &[]).await.body == big);
        // The first write that finds a reader ends it for all of them.
        while guest.post(&target, &[RAW], &big).await.status == 500 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut n_bytes = 0;
        for reader in readers {
            let answer = reader.await.unwrap();
            assert_eq!(answer.status, 200);
            n_bytes += answer.body.len();
        }
        assert_eq!(n_bytes, big.len());
        let full = guest.post("/files?path=/dev/full", &[RAW], b"x").await;
        assert_eq!(full.status, 507, "{:?}", full.body);
        assert_eq!(full.json()["message"], "attempted to write 1 bytes: not enough disk space available");
    });
}

#[test]
fn packed_uploads_that_are_broken_or_bombs() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let target = format!("/files?path={}/f", dir.path().display());
        let packed = |bytes: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(bytes).unwrap();
            gzip.finish().unwrap()
        };
        let gzip = [RAW, ("content-encoding", "gzip")];
        let zeros = vec![0; 64 << 20];
        let bomb = packed(&zeros);
        assert!(bomb.len() < 100_000);
        assert_eq!(guest.post(&target, &gzip, &bomb).await.status, 200);
        assert!(std::fs::read(dir.path().join("f")).unwrap() == zeros);
        assert_eq!(guest.post(&target, &gzip, b"not packed").await.status, 400);
        assert_eq!(guest.post(&target, &gzip, &bomb[..bomb.len() / 2]).await.status, 500);
        let short = packed(b"a short text");
        assert_eq!(
            guest.post(&target, &gzip, &short[..short.len() - 4]).await.status,
            500,
            "it began as gzip"
        );
        assert_eq!(guest.post(&target, &gzip, &packed(b"")).await.status, 200);
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"");
    });
}

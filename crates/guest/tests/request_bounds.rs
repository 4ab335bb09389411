//! The bounds of single requests, gone up to and beyond: what is refused is told,
//! and the next request on the same daemon is answered.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[allow(dead_code, reason = "shared by several test binaries; none uses all of it")]
mod common;

use std::time::Duration;

use common::{Guest, with_guest, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warren_guest::Bounds;

const RAW: (&str, &str) = ("content-type", "application/octet-stream");

/// Sends a refused upload (it names no path) of an announced length, and what
/// there is of its body; everything that comes back until the daemon closes the
/// connection, which it does because the rest is unread.
async fn refused_upload(guest: Guest, announced: u64, body: &[u8]) -> String {
    let mut stream = guest.hold().await;
    let head = format!(
        "POST /files HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n\
         content-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn the_rest_of_a_refused_request() {
    with_guest(async |guest| {
        // One that is read to its end keeps its connection, whatever it was.
        let body = vec![b'x'; 20 << 20];
        assert_eq!(guest.post("/files", &[RAW], &body).await.status, 400);
        // One that says it is longer than the bound is not waited for.
        let answer = refused_upload(guest, (1 << 30) + 1, b"").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

#[test]
fn the_rest_of_a_refused_request_that_does_not_come() {
    with_guest(async |guest| {
        let refused = refused_upload(guest, 100, b"only this");
        tokio::pin!(refused);
        let early = tokio::time::timeout(Duration::from_millis(500), &mut refused).await;
        assert!(early.is_err(), "it is waited for");
        after(Duration::from_secs(10)).await;
        let answer = refused.await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

/// Lets the daemon's clock go on by this much; it runs on the same one.
async fn after(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[test]
fn silence_of_a_stream() {
    within(Duration::from_mins(10), Bounds::default(), async |guest| {
        let shell = json!({"process": {"cmd": "/bin/sh", "args": ["-c", "read line"]}, "stdin": true});
        // Ninety seconds, unless the client asks for less.
        for (ask, silence) in [(None, 90), (Some("1"), 1), (Some("0"), 90)] {
            let headers: Vec<_> = ask.map(|ask| ("keepalive-ping-interval", ask)).into_iter().collect();
            let mut stream = guest.start_stream(&shell.to_string(), &headers).await;
            let pid = stream.next().await["event"]["start"]["pid"].as_u64().unwrap();
            if silence > 60 {
                after(Duration::from_secs(silence - 30)).await;
                let early = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
                assert!(early.is_err(), "{early:?}");
            }
            after(Duration::from_secs(silence.min(30))).await;
            assert_eq!(stream.next().await, json!({"event": {"keepalive": {}}}));
            let kill = json!({"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}).to_string();
            assert_eq!(guest.call("/process.Process/SendSignal", &kill).await.status, 200);
            assert_eq!(stream.next().await["event"]["end"]["status"], "signal: killed");
        }
    });
}

#[test]
fn ranges_of_one_download() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![b'x'; 1000]).unwrap();
        let target = format!("/files?username=root&path={}", path.display());
        let ask = async |n: usize| {
            let ranges: Vec<_> = (0..n).map(|i| format!("{}-{}", 2 * i, 2 * i)).collect();
            guest.get(&target, &[("range", &format!("bytes={}", ranges.join(",")))]).await
        };
        let most = ask(64).await;
        assert_eq!(most.status, 206);
        assert!(most.header("content-type").starts_with("multipart/byteranges"));
        let beyond = ask(65).await;
        assert_eq!((beyond.status, beyond.body.len()), (200, 1000), "the whole file");
    });
}

#[test]
fn a_path() {
    with_guest(async |guest| {
        let stat = async |path: &str| {
            guest.call("/filesystem.Filesystem/Stat", &json!({ "path": path }).to_string()).await
        };
        // What the kernel takes at most: its end is a byte, too.
        let longest = "/".to_owned() + &"./".repeat(2047);
        assert_eq!((longest.len(), stat(&longest).await.status), (4095, 200));
        let beyond = "/".repeat(4097);
        let refused = stat(&beyond).await;
        assert_eq!((refused.status, refused.json()["code"].clone()), (400, json!("invalid_argument")));
        let target = format!("/files?username=root&path={beyond}");
        assert_eq!(guest.get(&target, &[]).await.status, 400);
        assert_eq!(guest.post(&target, &[RAW], b"x").await.status, 400);
        let wanted = json!({"process": {"cmd": "true", "cwd": beyond}}).to_string();
        let (_, record) = guest.stream("/process.Process/Start", &wanted, &[]).await;
        assert_eq!(record["error"]["code"], "invalid_argument", "{record}");
    });
}

#[test]
fn the_head_of_a_part() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let upload = async |head: usize| {
            let named = format!(
                "Content-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nX-Fill: ",
                path.display()
            );
            let filled = named.clone() + &"x".repeat(head - named.len());
            let body = format!("--B\r\n{filled}\r\n\r\ncontent\r\n--B--\r\n");
            let media = [("content-type", "multipart/form-data; boundary=B")];
            guest.post("/files?username=root", &media, body.as_bytes()).await
        };
        assert_eq!(upload((16 << 10) - 8).await.status, 200);
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        std::fs::remove_file(&path).unwrap();
        let refused = upload((16 << 10) + 8).await;
        assert_eq!(refused.status, 500);
        assert!(refused.json()["message"].as_str().unwrap().contains("16384"), "{:?}", refused.body);
        assert!(!path.exists());
    });
}

#[test]
fn the_metadata_of_a_file() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let target = format!("/files?username=root&path={}", path.display());
        let upload = async |key: usize, value: usize| {
            let header = format!("x-metadata-{}", "k".repeat(key));
            guest.post(&target, &[RAW, (&header, &"v".repeat(value))], b"x").await
        };
        let told = upload(246, 3000).await;
        assert_eq!(told.status, 200);
        assert_eq!(told.json()[0]["metadata"]["k".repeat(246)], "v".repeat(3000));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(upload(247, 1).await.status, 400, "a longer key");
        // The prefix of attributes counts: nine bytes.
        assert_eq!(upload(7, 4096 - 9 - 7 + 1).await.status, 400, "more together");
        assert!(!path.exists(), "what is refused leaves nothing");
        let last = upload(7, 4096 - 9 - 7).await.status;
        assert!([200, 507].contains(&last), "{last}: no more than this depends on the file system");
    });
}

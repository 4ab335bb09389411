//! Files: forms, metadata, compression, streams, watches.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde_json::json as value;
use warren_sdk::{EntryKind, ErrorKind, FileEventKind, WriteOptions};

use super::*;
use crate::mock::stream;

fn stored() -> Reply {
    json(200, &value!([{ "name": "a", "path": "/home/user/a", "type": "file" }]))
}

#[tokio::test]
async fn files_are_written_with_notes_compressed_and_in_forms() {
    let (mock, sandbox) = sandbox(|_| stored()).await;
    let files = sandbox.files();
    assert_eq!(files.user("root").write("a b", "x").await.unwrap().path, "/home/user/a");
    let sent = mock.last("/files");
    assert_eq!((sent.path.as_str(), &sent.body[..]), ("/files?path=a%20b&username=root", &b"x"[..]));
    assert_eq!(sent.header("content-type"), Some("application/octet-stream"));

    let options = WriteOptions::new().metadata("Kind", "raw data").gzip();
    files.write_with("a", vec![b'x'; 10_000], &options).await.unwrap();
    let sent = mock.last("/files");
    assert_eq!(
        (sent.header("x-metadata-kind"), sent.header("content-encoding")),
        (Some("raw data"), Some("gzip"))
    );
    assert!(sent.body.starts_with(b"\x1f\x8b") && sent.body.len() < 1000);
    let wrong = files.write_with("a", "x", &WriteOptions::new().metadata("k", "ä")).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidArgument);

    files.write_files([("d/\"q\".txt", "1"), ("b", "2")]).await.unwrap();
    let sent = mock.last("/files");
    let text = String::from_utf8(sent.body.to_vec()).unwrap();
    assert!(text.contains("name=\"file\"; filename=\"d/%22q%22.txt\"\r\n"), "{text}");
    assert_eq!(text.matches("Content-Type: application/octet-stream").count(), 2);
    assert!(sent.header("content-type").unwrap().starts_with("multipart/form-data; boundary="));
    let before = mock.seen().len();
    assert!(files.write_files(Vec::<(&str, &str)>::new()).await.unwrap().is_empty());
    assert_eq!(mock.seen().len(), before);

    let pieces =
        futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("1")), Ok(Bytes::from("2"))]);
    files.write_stream("a", pieces).await.unwrap();
    assert_eq!(mock.last("/files").body, "12");
}

#[tokio::test]
async fn files_are_read_whole_and_in_pieces() {
    let (_mock, sandbox) = sandbox(|seen| match seen.path.as_str() {
        "/files?path=a" => Reply::Answer(200, Vec::new(), Bytes::from_static(b"h\xffi")),
        "/files?path=full" => failure(507, "no space"),
        _ => failure(404, "path does not exist"),
    })
    .await;
    let files = sandbox.files();
    assert_eq!(files.read("a").await.unwrap(), "h\u{fffd}i");
    assert_eq!(&files.read_bytes("a").await.unwrap()[..], b"h\xffi");
    let pieces: Vec<Bytes> = files.read_stream("a").await.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"h\xffi");
    assert_eq!(files.read("b").await.unwrap_err().kind(), ErrorKind::FileNotFound);
    assert_eq!(files.read_stream("b").await.err().unwrap().kind(), ErrorKind::FileNotFound);
    assert_eq!(files.read("full").await.unwrap_err().kind(), ErrorKind::NotEnoughSpace);
}

#[tokio::test]
async fn directories_are_listed_made_moved_and_removed() {
    let entry = value!({
        "name": "a", "type": "FILE_TYPE_FILE", "path": "/a", "size": "5", "mode": 420, "permissions": "-rw-r--r--",
        "owner": "user", "group": "user", "modifiedTime": "2026-11-21T10:00:00Z", "metadata": { "k": "v" },
    });
    let (mock, sandbox) = sandbox(move |seen| match seen.path.rsplit('/').next().unwrap() {
        "ListDir" => json(200, &value!({ "entries": [entry] })),
        "MakeDir" => json(409, &value!({ "code": "already_exists", "message": "there" })),
        "Stat" if seen.json()["path"] == "no" => {
            json(404, &value!({ "code": "not_found", "message": "none" }))
        }
        "Stat" | "Move" => json(200, &value!({ "entry": entry })),
        _ => json(200, &value!({})),
    })
    .await;
    let files = sandbox.files();
    let listed = files.list("/", 2).await.unwrap();
    assert_eq!((listed[0].kind, listed[0].size, listed[0].metadata["k"].as_str()), (EntryKind::File, 5, "v"));
    assert!(listed[0].modified.is_some());
    assert_eq!(mock.last("/filesystem").json(), value!({ "path": "/", "depth": 2 }));
    assert_eq!(files.list("/", 0).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(files.exists("a").await.unwrap() && !files.exists("no").await.unwrap());
    assert_eq!(files.info("no").await.unwrap_err().kind(), ErrorKind::FileNotFound);
    assert!(!files.make_dir("d").await.unwrap());
    assert_eq!(files.user("root").rename("a", "b").await.unwrap().name, "a");
    assert_eq!(mock.last("/filesystem").header("authorization"), Some("Basic cm9vdDo="));
    files.remove("a").await.unwrap();
}

#[tokio::test]
async fn changes_come_as_a_stream() {
    let (mock, sandbox) = sandbox(|_| {
        stream(&[
            value!({ "start": {} }),
            value!({ "filesystem": { "name": "a", "type": "EVENT_TYPE_CREATE", "entry": { "name": "a" } } }),
            value!({ "keepalive": {} }),
            value!({ "filesystem": { "name": "a", "type": "EVENT_TYPE_WRITE" } }),
        ])
    })
    .await;
    let watch = sandbox.files().watch("/d").recursive().include_entry().allow_network_mounts().await.unwrap();
    let events: Vec<_> = watch.into_stream().try_collect().await.unwrap();
    assert_eq!(
        events.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [FileEventKind::Create, FileEventKind::Write]
    );
    assert!(events[0].entry.is_some() && events[1].entry.is_none());
    let sent = mock.last("/filesystem.Filesystem/WatchDir");
    let request =
        value!({ "path": "/d", "recursive": true, "includeEntry": true, "allowNetworkMounts": true });
    assert_eq!(sent.enveloped(), request);
    assert_eq!(sent.header("connect-timeout-ms"), Some("60000"));
    let mut watch = sandbox.files().watch("/d").timeout(None).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().name, "a");
    watch.stop();
    assert_eq!(mock.last("/filesystem").header("connect-timeout-ms"), None);
}

//! Volumes: the control plane's calls and those about content.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde_json::json as value;
use warren_sdk::{ErrorKind, Ownership, Volume, VolumeEntryKind};

use super::*;

async fn server() -> Mock {
    Mock::start(|seen| {
        let told = value!({ "volumeID": "v1", "name": "vol", "token": "jwt" });
        let stat = value!({
            "name": "a", "type": "file", "path": "/a", "size": 1, "mode": 420, "uid": 1, "gid": 2,
            "atime": "2026-11-21T10:00:00Z", "mtime": "2026-11-21T10:00:00Z", "ctime": "2026-11-21T10:00:00Z",
        });
        match seen.line().as_str() {
            "POST /volumes" if seen.json()["name"] == "twice" => {
                failure(400, "Volume with name 'twice' already exists")
            }
            "POST /volumes" => json(201, &told),
            "GET /volumes" => json(200, &value!([{ "volumeID": "v1", "name": "vol" }])),
            "GET /volumes/v1" => json(200, &told),
            "DELETE /volumes/v1" | "DELETE /volumecontent/v1/path?path=a" => empty(204),
            "GET /volumecontent/v1/path?path=a" | "PATCH /volumecontent/v1/path?path=a" => json(200, &stat),
            "GET /volumecontent/v1/dir?path=%2F&depth=2" => json(200, &value!([stat])),
            "POST /volumecontent/v1/dir?path=d&mode=493&force=true"
            | "PUT /volumecontent/v1/file?path=a&uid=1&gid=2" => json(201, &stat),
            "GET /volumecontent/v1/file?path=a" => Reply::Answer(200, Vec::new(), Bytes::from("x")),
            line if line.contains("/volumecontent/") => {
                json(404, &value!({ "code": "not_found", "message": "none" }))
            }
            _ => failure(404, "no such volume"),
        }
    })
    .await
}

#[tokio::test]
async fn volumes_are_made_found_and_destroyed() {
    let mock = server().await;
    let config = &mock.config;
    let volume = Volume::create(config, "vol").await.unwrap();
    assert_eq!((volume.id(), volume.name(), volume.token()), ("v1", "vol", "jwt"));
    assert_eq!(Volume::create(config, "twice").await.unwrap_err().kind(), ErrorKind::Volume);
    assert_eq!(Volume::connect(config, "v1").await.unwrap().name(), "vol");
    assert_eq!(Volume::connect(config, "v2").await.unwrap_err().kind(), ErrorKind::VolumeNotFound);
    assert_eq!(Volume::list(config).await.unwrap()[0].name, "vol");
    assert!(Volume::destroy(config, "v1").await.unwrap() && !Volume::destroy(config, "v2").await.unwrap());
}

#[tokio::test]
async fn content_goes_with_the_volumes_own_token() {
    let mock = server().await;
    let volume = Volume::create(&mock.config, "vol").await.unwrap();
    let owner = Ownership { uid: Some(1), gid: Some(2), mode: None };
    assert_eq!(volume.write_file("a", "x", owner, false).await.unwrap().kind, VolumeEntryKind::File);
    let sent = mock.last("/volumecontent");
    assert_eq!((sent.header("authorization"), sent.header("x-api-key")), (Some("Bearer jwt"), None));
    assert_eq!(volume.read_file("a").await.unwrap(), "x");
    let pieces: Vec<Bytes> = volume.read_file_stream("a").await.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"x");
    assert_eq!(volume.list_dir("/", 2).await.unwrap().len(), 1);
    let mode = Ownership { mode: Some(0o755), ..Ownership::default() };
    volume.make_dir("d", mode, true).await.unwrap();
    volume.update_metadata("a", mode).await.unwrap();
    assert_eq!(mock.last("/volumecontent").json(), value!({ "mode": 493 }));
    assert_eq!(volume.info("a").await.unwrap().uid, 1);
    assert!(volume.exists("a").await.unwrap() && !volume.exists("b").await.unwrap());
    volume.remove("a").await.unwrap();
    assert_eq!(volume.remove("b").await.unwrap_err().kind(), ErrorKind::VolumePathNotFound);
}

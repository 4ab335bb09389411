//! The control plane: creating, listing, lifecycle, retries, secrets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json as value;
use warren_sdk::{
    ChangeKind, ChangedFileKind, ConnectOptions, CreateOptions, ErrorKind, ListQuery, Network, OnTimeout,
    Sandbox, Secret, SnapshotMode, SnapshotQuery, Templates,
};

use super::*;

#[tokio::test]
async fn create_sends_what_the_official_sdk_sends() {
    let mock = Mock::start(|_| json(201, &created("i1"))).await;
    let options = CreateOptions::new()
        .template("t:v1")
        .timeout(Duration::from_millis(1500))
        .metadata("k", "v")
        .env("A", "1")
        .on_timeout(OnTimeout::Pause(SnapshotMode::Full))
        .auto_resume()
        .network(Network::new().allow_out("1.1.1.1").allow_public_traffic(false))
        .volume("/data", "vol")
        .iam_token("t", "https://a")
        .idempotency_key("k-1");
    let sandbox = Sandbox::create_with(&mock.config, options).await.unwrap();
    assert_eq!(sandbox.id(), "i1");
    let sent = &mock.seen()[0];
    assert_eq!((sent.header("x-api-key"), sent.header("idempotency-key")), (Some("e2b_0000"), Some("k-1")));
    assert!(sent.header("user-agent").unwrap().starts_with("warren-sdk/"));
    assert_eq!(
        sent.json(),
        value!({
            "templateID": "t:v1", "timeout": 2, "metadata": { "k": "v" }, "envVars": { "A": "1" },
            "autoPause": true, "autoResume": { "enabled": true },
            "network": { "allowOut": ["1.1.1.1"], "allowPublicTraffic": false },
            "volumeMounts": [{ "name": "vol", "path": "/data" }],
            "iam": { "tokens": { "t": { "audience": "https://a", "tokenType": "JWT-SVID" } } },
        })
    );
}

#[tokio::test]
async fn calls_are_repeated_as_the_server_says() {
    for (status, header, tries) in
        [(503, None, 4), (429, Some("false"), 1), (500, None, 1), (500, Some("true"), 4)]
    {
        let mock = Mock::start(move |_| {
            let mut reply = failure(status, "no");
            if let (Reply::Answer(_, headers, _), Some(word)) = (&mut reply, header) {
                headers.extend([("should-retry", word.to_owned()), ("retry-after", "0".to_owned())]);
            }
            reply
        })
        .await;
        let error = Sandbox::create(&mock.config).await.unwrap_err();
        assert_eq!((error.status(), mock.seen().len()), (Some(status), tries), "{status} {header:?}");
    }
    let count = AtomicUsize::new(0);
    let mock = Mock::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => failure(503, "busy"),
        _ => json(201, &created("i1")),
    })
    .await;
    Sandbox::create(&mock.config).await.unwrap();
    assert_eq!(mock.seen().len(), 3);
}

#[tokio::test]
async fn a_wait_beyond_the_requests_time_is_not_begun() {
    let mut mock = Mock::start(|_| {
        Reply::Answer(429, vec![("retry-after", "60".to_owned())], r#"{"code":429,"message":"slow"}"#.into())
    })
    .await;
    mock.config.request_timeout = Duration::from_secs(5);
    let error = Sandbox::create(&mock.config).await.unwrap_err();
    assert_eq!((error.kind(), mock.seen().len()), (ErrorKind::RateLimit, 1));
}

#[tokio::test]
async fn lists_follow_their_pages() {
    let mock = Mock::start(|seen| {
        let item = |id: &str| {
            value!({
                "templateID": "t", "sandboxID": id, "clientID": "6532622b", "alias": "base",
                "startedAt": "2026-11-21T10:00:00.123456Z", "endAt": "2026-11-21T10:05:00.123456Z", "cpuCount": 2,
                "memoryMB": 1024, "diskSizeMB": 10240, "state": "running", "envdVersion": "0.6.13", "metadata": { "k": "v" },
            })
        };
        match seen.path.as_str() {
            "/v2/sandboxes?limit=1" => {
                let headers = vec![("x-next-token", "a+b".to_owned())];
                Reply::Answer(200, headers, value!([item("i1")]).to_string().into())
            }
            "/v2/sandboxes?limit=1&nextToken=a%2Bb" => json(200, &value!([item("i2")])),
            other => failure(404, other),
        }
    })
    .await;
    let mut pages = Sandbox::list_with(&mock.config, ListQuery::new().limit(1));
    assert_eq!(pages.next_items().await.unwrap()[0].sandbox_id, "i1");
    assert_eq!((pages.has_next(), pages.next_token()), (true, Some("a+b")));
    assert_eq!(pages.next_items().await.unwrap()[0].sandbox_id, "i2");
    assert!(!pages.has_next() && pages.next_items().await.unwrap().is_empty());
    let all = Sandbox::list_with(&mock.config, ListQuery::new().limit(1)).into_stream();
    assert_eq!(Box::pin(all).count().await, 2);
}

#[tokio::test]
async fn pausing_and_waking() {
    let (mock, sandbox) = sandbox(|seen| match (seen.path.as_str(), seen.json()) {
        ("/sandboxes/i1/pause", body) if body == value!({ "memory": false, "requireHealthyGuest": true }) => empty(204),
        ("/sandboxes/i1/pause", _) => failure(409, "already paused"),
        ("/v2/sandboxes/i1/connect", _) => json(201, &created("i1")),
        ("/v2/sandboxes/i2/connect", _) => failure(404, "nothing"),
        ("/v2/sandboxes/i3/connect", _) => json(
            409,
            &value!({ "code": 409, "message": "stuck", "error_code": "sandbox_snapshot_guest_agent_unresponsive" }),
        ),
        (other, _) => failure(500, other),
    })
    .await;
    assert!(sandbox.pause_with(SnapshotMode::Filesystem, true).await.unwrap());
    assert!(!sandbox.pause().await.unwrap());
    assert!(!Sandbox::pause_id(&mock.config, "i1").await.unwrap());
    let options = ConnectOptions::new().timeout(Duration::from_secs(9)).reboot();
    sandbox.resume_with(options).await.unwrap();
    assert_eq!(mock.last("/v2/sandboxes/i1/connect").json(), value!({ "timeout": 9, "memory": false }));
    sandbox.resume(None).await.unwrap();
    assert_eq!(mock.last("/v2/sandboxes/i1/connect").json(), value!({}));
    let kind = |id: &'static str| {
        let config = mock.config.clone();
        async move { Sandbox::connect(&config, id, None).await.unwrap_err().kind() }
    };
    assert_eq!(kind("i2").await, ErrorKind::SandboxNotFound);
    assert_eq!(kind("i3").await, ErrorKind::GuestUnresponsive);
    assert_eq!(kind("../x").await, ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn forks_fail_one_by_one() {
    let (mock, sandbox) = sandbox(|_| {
        let failed = value!({ "error": { "code": 503, "message": "no room" } });
        json(201, &value!([{ "sandbox": created("i2") }, failed]))
    })
    .await;
    let forks = sandbox.fork(2, Duration::from_mins(1)).await.unwrap();
    assert_eq!(forks[0].as_ref().unwrap().id(), "i2");
    assert_eq!(forks[1].as_ref().unwrap_err().kind(), ErrorKind::ServiceBusy);
    assert_eq!(mock.last("/sandboxes/i1/fork").json(), value!({ "timeout": 60, "count": 2 }));
    for count in [0, 21] {
        assert_eq!(sandbox.fork(count, None).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[tokio::test]
async fn snapshots_are_made_listed_and_removed() {
    let info = value!({ "snapshotID": "team/x:default", "names": ["team/x"] });
    let (mock, sandbox) = sandbox(move |seen| match seen.line().as_str() {
        "POST /sandboxes/i1/snapshots" => json(201, &info),
        "GET /snapshots?sandboxID=i1&name=x" => json(200, &value!([info])),
        "DELETE /templates/team%2Fx%3Adefault" => empty(204),
        _ => failure(404, "no such snapshot"),
    })
    .await;
    let snapshot = sandbox.create_snapshot_with(Some("x"), SnapshotMode::Filesystem).await.unwrap();
    assert_eq!(mock.last("/sandboxes/i1/snapshots").json(), value!({ "name": "x", "memory": false }));
    sandbox.create_snapshot(None).await.unwrap();
    assert_eq!(mock.last("/sandboxes/i1/snapshots").json(), value!({}));
    let query = SnapshotQuery::new().sandbox("i1").name("x");
    assert_eq!(
        Sandbox::list_snapshots(&mock.config, query).collect().await.unwrap(),
        std::slice::from_ref(&snapshot)
    );
    assert!(Sandbox::delete_snapshot(&mock.config, &snapshot.snapshot_id).await.unwrap());
    assert!(!Sandbox::delete_snapshot(&mock.config, "other").await.unwrap());
}

#[tokio::test]
async fn a_rollback_answers_with_a_fresh_handle() {
    let (mock, sandbox) = sandbox(|seen| match seen.json()["snapshotID"].as_str() {
        Some("team/x:default") => json(200, &created("i1")),
        Some("base") => failure(403, "'base' is not yours"),
        _ => failure(404, "template 'nothing' not found"),
    })
    .await;
    let back = sandbox.rollback("team/x:default", Duration::from_millis(8500)).await.unwrap();
    assert_eq!(back.id(), "i1");
    let path = "/sandboxes/i1/rollback";
    assert_eq!(mock.last(path).line(), format!("POST {path}"));
    assert_eq!(mock.last(path).json(), value!({ "snapshotID": "team/x:default", "timeout": 9 }));
    sandbox.rollback("team/x:default", None).await.unwrap();
    assert_eq!(mock.last(path).json(), value!({ "snapshotID": "team/x:default" }));
    // What is missing may be the snapshot: it is not said to be the sandbox.
    let missing = sandbox.rollback("nothing", None).await.unwrap_err();
    assert_eq!((missing.kind(), missing.status()), (ErrorKind::NotFound, Some(404)));
    assert_eq!(sandbox.rollback("base", None).await.unwrap_err().status(), Some(403));
}

#[tokio::test]
async fn differences_keep_their_names_byte_for_byte() {
    let file = value!({ "kind": "file", "sizeBytes": 7, "mode": 420, "uid": 0, "gid": 0 });
    let new = value!({ "snapshotID": "new:default", "names": [] });
    let (mock, sandbox) = sandbox(move |seen| match seen.line().as_str() {
        "POST /sandboxes/i1/snapshots" => json(201, &new),
        "GET /snapshots/diff?from=team%2Fx%3Adefault&to=new%3Adefault" => Reply::Answer(
            200,
            vec![("x-next-token", "L2E".to_owned())],
            value!([{ "path": "/a", "change": "added", "after": file }]).to_string().into(),
        ),
        "GET /snapshots/diff?from=team%2Fx%3Adefault&to=new%3Adefault&nextToken=L2E" => {
            let odd =
                value!({ "path": "/\u{fffd}", "pathBase64": "L/8=", "change": "removed", "before": file });
            json(200, &value!([odd]))
        }
        "DELETE /templates/new%3Adefault" => empty(204),
        other => failure(404, other),
    })
    .await;
    let changes = sandbox.changes_since("team/x:default").await.unwrap();
    assert_eq!(
        changes.iter().map(|one| one.kind).collect::<Vec<_>>(),
        [ChangeKind::Added, ChangeKind::Removed]
    );
    assert_eq!(changes[1].path.as_os_str().as_encoded_bytes(), b"/\xff");
    assert_eq!(
        changes[0].after.as_ref().map(|file| (file.kind, file.size_bytes)),
        Some((ChangedFileKind::File, 7))
    );
    assert_eq!(mock.last("/sandboxes/i1/snapshots").json(), value!({ "memory": false }));
    assert!(mock.lines().contains(&"DELETE /templates/new%3Adefault".to_owned()), "nothing is left");
    // Also where the comparison fails.
    assert_eq!(sandbox.changes_since("gone").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(mock.lines().last().unwrap(), "DELETE /templates/new%3Adefault");
}

#[tokio::test]
async fn a_log_is_read_by_a_handle_that_knows_only_an_id() {
    let (mock, _) = sandbox(|seen| match seen.line().as_str() {
        "GET /sandboxes/i2/logs?start=1500&limit=10" => json(
            200,
            &value!({
                "logs": [{ "timestamp": "2026-11-21T10:00:05Z", "line": "{\"level\":\"warn\"}" }],
                "logEntries": [{
                    "timestamp": "2026-11-21T10:00:05Z", "level": "warn", "message": "said", "fields": { "n": "1" },
                }],
            }),
        ),
        _ => failure(404, "nothing"),
    })
    .await;
    let sandbox = Sandbox::detached(&mock.config, "i2").unwrap();
    let from = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1500);
    let lines = sandbox.logs(Some(from), 10).await.unwrap();
    assert_eq!((lines[0].level.as_str(), lines[0].message.as_str()), ("warn", "said"));
    assert_eq!(lines[0].fields["n"], "1");
    assert_eq!(sandbox.logs(None, None).await.unwrap_err().kind(), ErrorKind::SandboxNotFound);
    assert_eq!(Sandbox::detached(&mock.config, "../x").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn the_record_of_an_ended_sandbox_is_read() {
    let (mock, _) = sandbox(|seen| match seen.line().as_str() {
        "GET /sandboxes/i2/record" => json(
            200,
            &value!({
                "sandboxID": "i2", "templateID": "base", "buildID": "b", "cause": "timeout", "message": "its time was up",
                "endedAt": "2026-11-21T10:05:00Z", "peakMemoryBytes": 7, "peakDiskBytes": 8, "cpuMicros": 9, "oomKills": 1,
            }),
        ),
        _ => failure(404, "nothing"),
    })
    .await;
    let record = Sandbox::record_of(&mock.config, "i2").await.unwrap();
    assert_eq!((record.cause.as_str(), record.peak_memory_bytes, record.oom_kills), ("timeout", 7, 1));
    assert!(record.started_at.is_none());
    let unknown = Sandbox::record_of(&mock.config, "i3").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::SandboxNotFound);
}

#[tokio::test]
async fn info_metrics_network_and_timeouts() {
    let (mock, sandbox) = sandbox(|seen| match seen.line().as_str() {
        "GET /sandboxes/i1" => json(
            200,
            &value!({
                "templateID": "t", "sandboxID": "i1", "clientID": "6532622b", "startedAt": "2026-11-21T10:00:00Z",
                "endAt": "2026-11-21T10:05:00Z", "cpuCount": 2, "memoryMB": 1024, "diskSizeMB": 10240,
                "state": "paused", "envdVersion": "0.6.13", "envdAccessToken": "x", "allowInternetAccess": null,
                "network": { "allowOut": ["1.1.1.1"], "denyOut": ["0.0.0.0/0"] },
                "lifecycle": { "autoResume": true, "onTimeout": "pause" },
                "volumeMounts": [{ "name": "v", "path": "/data" }],
            }),
        ),
        "GET /sandboxes/i1/metrics" => json(
            200,
            &value!([{
                "timestamp": "2026-11-21T10:00:05Z", "timestampUnix": 1, "cpuCount": 2, "cpuUsedPct": 12.5,
                "memUsed": 1, "memTotal": 2, "memCache": 3, "diskUsed": 4, "diskTotal": 5,
            }]),
        ),
        "PUT /sandboxes/i1/network" | "POST /sandboxes/i1/timeout" => empty(204),
        "DELETE /sandboxes/i1" => failure(404, "gone"),
        _ => failure(404, "nothing"),
    })
    .await;
    let info = sandbox.info().await.unwrap();
    assert_eq!((info.auto_resume, info.pauses_on_timeout), (Some(true), Some(true)));
    assert_eq!(info.volume_mounts["/data"], "v");
    assert_eq!(info.network.unwrap()["denyOut"][0], "0.0.0.0/0");
    let samples = sandbox.metrics(None, None).await.unwrap();
    assert!((samples[0].cpu_used_pct - 12.5).abs() < f64::EPSILON);
    sandbox.update_network(Network::new()).await.unwrap();
    assert_eq!(mock.last("/sandboxes/i1/network").json(), value!({}));
    sandbox.set_timeout(Duration::from_secs(5)).await.unwrap();
    assert_eq!(mock.last("/sandboxes/i1/timeout").json(), value!({ "timeout": 5 }));
    assert!(!sandbox.kill().await.unwrap());
    let missing = Sandbox::info_of(&mock.config, "i9").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::SandboxNotFound);
}

#[tokio::test]
async fn urls_are_signed_as_the_contract_says() {
    let (mock, sandbox) = sandbox(|_| empty(204)).await;
    assert_eq!(sandbox.host(8000), "8000-i1.localhost");
    assert_eq!(sandbox.mcp_url(), "https://50005-i1.localhost/mcp");
    let base = &mock.config.api_url;
    assert_eq!(
        sandbox.download_url("/home/user/a b.txt", Some("user"), None).unwrap(),
        format!(
            "{base}/files?path=%2Fhome%2Fuser%2Fa%20b.txt&username=user\
             &signature=v1_Y8IQlyJqKv53mNXK%2F5F%2BX%2FAcrsOQon44dTy59t1O9Hw"
        )
    );
    let ending = sandbox.upload_url("x", None, Duration::from_mins(1).into()).unwrap();
    assert!(ending.contains("&signature_expiration="), "{ending}");
    assert!(sandbox.is_running().await.unwrap());
}

#[tokio::test]
async fn secrets() {
    let told = value!({
        "secretID": "sec_1", "name": "key", "currentVersion": 2, "metadata": { "a": "b" },
        "createdAt": "2026-11-21T10:00:00Z", "updatedAt": "2026-11-21T10:00:01Z",
    });
    let mock = Mock::start(move |seen| match seen.line().as_str() {
        "POST /secrets" if seen.json()["name"] == "twice" => failure(409, "Secret cannot be modified"),
        "POST /secrets" => json(201, &told),
        "POST /secrets/key" | "GET /secrets/key" => json(200, &told),
        "GET /secrets?limit=5" => json(200, &value!([told])),
        "DELETE /secrets/key" => empty(204),
        _ => failure(404, "Secret not found"),
    })
    .await;
    let (config, none) = (&mock.config, BTreeMap::new());
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(Secret::create(config, "key", "v", &labels).await.unwrap().current_version, 2);
    assert_eq!(
        mock.last("/secrets").json(),
        value!({ "name": "key", "value": "v", "metadata": { "a": "b" } })
    );
    assert_eq!(Secret::create(config, "twice", "v", &none).await.unwrap_err().kind(), ErrorKind::Secret);
    Secret::update(config, "key", "w", &none).await.unwrap();
    assert_eq!(mock.last("/secrets/key").json(), value!({ "value": "w" }));
    assert_eq!(Secret::info(config, "key").await.unwrap().name, "key");
    assert_eq!(Secret::info(config, "other").await.unwrap_err().kind(), ErrorKind::SecretNotFound);
    assert!(Secret::exists(config, "key").await.unwrap() && !Secret::exists(config, "other").await.unwrap());
    assert_eq!(Secret::list(config, Some(5), None).collect().await.unwrap().len(), 1);
    assert!(
        Secret::destroy(config, "key").await.unwrap() && !Secret::destroy(config, "other").await.unwrap()
    );
    assert_eq!(Secret::fill("key"), "${e2b.secrets.key}");
}

#[tokio::test]
async fn an_address_that_is_wrong_in_its_beginning_is_told_so() {
    let mock = Mock::start(|_| json(200, &value!([]))).await;
    let message = async |api_url: String| {
        let mut config = mock.config.clone();
        config.api_url = api_url;
        Templates::new(&config).list().await.unwrap_err().to_string()
    };
    let plain = &mock.config.api_url;
    let told = message(plain.replace("http://", "https://")).await;
    assert!(told.contains("begins with http://, not https://"), "{told}");
    let told = message(plain.replace("http://", "")).await;
    assert!(told.contains("does it begin with http:// or https://?"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_look_at_all_layers_may_take_longer_than_other_calls() {
    let mock = Mock::start(|_| {
        // The thread may be the one that tells the client of its time.
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(1)));
        json(200, &value!({"layers": 3, "sizeBytes": 7, "damaged": []}))
    })
    .await;
    let mut config = mock.config.clone();
    config.request_timeout = Duration::from_millis(20);
    let templates = Templates::new(&config);
    assert_eq!(templates.list().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(templates.verify_layers().await.unwrap().layers, 3);
}

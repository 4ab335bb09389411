//! Commands and terminals: what is sent, and what events mean.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json as value;
use warren_sdk::{CommandEvent, ErrorKind, PtySize};

use super::*;
use crate::mock::{enveloped, stream};

fn start() -> Value {
    value!({ "event": { "start": { "pid": 7 } } })
}

/// `hi` on standard output, `oh` on standard error, status 3.
fn whole_run() -> Reply {
    stream(&[
        start(),
        value!({ "event": { "data": { "stdout": "aGk=" } } }),
        value!({ "event": { "keepalive": {} } }),
        value!({ "event": { "data": { "stderr": "b2g=" } } }),
        value!({ "event": { "end": { "exitCode": 3, "exited": true, "status": "exit status 3", "error": "exit status 3" } } }),
    ])
}

#[tokio::test]
async fn a_command_is_sent_and_its_events_are_read() {
    let (mock, sandbox) = sandbox(|_| whole_run()).await;
    let mut seen = Vec::new();
    let run = sandbox.commands().run("x").env("A", "1").cwd("/tmp").user("root");
    let output = run.on_stdout(|text| seen.push(text.to_owned())).await.unwrap();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.exit_code), ("hi", "oh", 3));
    assert_eq!(seen, ["hi"]);
    let sent = mock.last("/process.Process/Start");
    assert_eq!(
        sent.enveloped(),
        value!({
            "process": { "cmd": "/bin/bash", "args": ["-l", "-c", "x"], "envs": { "A": "1" }, "cwd": "/tmp" },
            "stdin": false,
        })
    );
    assert_eq!(sent.header("connect-timeout-ms"), Some("60000"));
    assert_eq!(sent.header("keepalive-ping-interval"), Some("50"));
    assert_eq!(sent.header("authorization"), Some("Basic cm9vdDo="));
    assert_eq!(sent.header("x-access-token"), Some("secret-token"));
    assert_eq!((sent.header("e2b-sandbox-id"), sent.header("e2b-sandbox-port")), (Some("i1"), Some("49983")));
    let error = output.success().unwrap_err();
    assert_eq!((error.kind(), error.output().unwrap().exit_code), (ErrorKind::CommandExit, 3));
}

#[tokio::test]
async fn a_handle_gives_events_one_by_one() {
    let (mock, sandbox) = sandbox(|_| whole_run()).await;
    let handle = sandbox.commands().run("x").timeout(None).background().await.unwrap();
    assert_eq!(handle.pid(), 7);
    assert_eq!(mock.last("/process.Process/Start").header("connect-timeout-ms"), None);
    let events: Vec<CommandEvent> = handle.into_stream().try_collect().await.unwrap();
    assert_eq!(events[0], CommandEvent::Stdout(Bytes::from_static(b"hi")));
    assert!(matches!(&events[2], CommandEvent::End { exit_code: 3, .. }) && events.len() == 3);
    let discarded = sandbox.commands().run("x").discard_output().await.unwrap();
    assert_eq!((discarded.stdout.as_str(), discarded.exit_code), ("", 3));
    sandbox.commands().connect(7).await.unwrap().disconnect();
    assert_eq!(mock.last("/process.Process/Connect").enveloped(), value!({ "process": { "pid": 7 } }));
}

#[tokio::test]
async fn a_sandbox_that_ends_is_told_from_one_that_does_not_answer() {
    for (health, kind) in
        [(gone(), ErrorKind::SandboxNotRunning), (empty(204), ErrorKind::SandboxUnreachable)]
    {
        let (_mock, sandbox) = sandbox(move |seen| {
            if seen.path == "/health" { health.clone() } else { Reply::Cut(enveloped(&[start()]).into()) }
        })
        .await;
        assert_eq!(sandbox.commands().run("sleep 9").await.unwrap_err().kind(), kind);
    }
    let (_mock, sandbox) = sandbox(|_| gone()).await;
    let error = sandbox.commands().run("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SandboxNotRunning);
    assert!(error.to_string().contains("longer timeout"), "{error}");
}

#[tokio::test]
async fn errors_of_the_daemon_have_their_kinds() {
    for (code, kind) in [
        ("not_found", ErrorKind::NotFound),
        ("invalid_argument", ErrorKind::InvalidArgument),
        ("unauthenticated", ErrorKind::Authentication),
        ("deadline_exceeded", ErrorKind::Timeout),
        ("resource_exhausted", ErrorKind::RateLimit),
        ("internal", ErrorKind::Sandbox),
    ] {
        let (_mock, sandbox) = sandbox(move |_| {
            let end = value!({ "error": { "code": code, "message": "no" } }).to_string();
            let mut body = vec![2];
            body.extend_from_slice(&u32::try_from(end.len()).unwrap().to_be_bytes());
            body.extend_from_slice(end.as_bytes());
            Reply::Answer(200, Vec::new(), body.into())
        })
        .await;
        assert_eq!(sandbox.commands().connect(1).await.unwrap_err().kind(), kind, "{code}");
    }
}

#[tokio::test]
async fn processes_are_listed_signalled_and_fed() {
    let (mock, sandbox) = sandbox(|seen| match seen.path.as_str() {
        "/process.Process/List" => json(
            200,
            &value!({ "processes": [{ "pid": 7, "config": { "cmd": "ls", "envs": { "A": "1" } } }] }),
        ),
        "/process.Process/StreamInput" => stream(&[value!({})]),
        _ if seen.json()["process"]["pid"] == 9 => {
            json(404, &value!({ "code": "not_found", "message": "none" }))
        }
        _ => json(200, &value!({})),
    })
    .await;
    let commands = sandbox.commands();
    let listed = commands.list().await.unwrap();
    assert_eq!((listed[0].pid, listed[0].cmd.as_str(), listed[0].envs["A"].as_str()), (7, "ls", "1"));
    assert!(commands.kill(7).await.unwrap() && !commands.kill(9).await.unwrap());
    commands.send_stdin(7, "hi").await.unwrap();
    let sent = mock.last("/process.Process/SendInput").json();
    assert_eq!(sent, value!({ "process": { "pid": 7 }, "input": { "stdin": "aGk=" } }));
    commands.close_stdin(7).await.unwrap();
    let data = futures_util::stream::iter(["a", "b"]).map(Bytes::from);
    commands.stream_input(7, data).await.unwrap();
    let messages = [
        value!({ "start": { "process": { "pid": 7 } } }),
        value!({ "data": { "input": { "stdin": "YQ==" } } }),
        value!({ "data": { "input": { "stdin": "Yg==" } } }),
    ];
    assert_eq!(mock.last("/process.Process/StreamInput").body, enveloped(&messages));
}

#[tokio::test]
async fn terminals_are_started_typed_into_and_resized() {
    let (mock, sandbox) = sandbox(|seen| match seen.path.as_str() {
        "/process.Process/Start" => stream(&[
            start(),
            value!({ "event": { "data": { "pty": "JCA=" } } }),
            value!({ "event": { "end": { "exited": true, "status": "exit status 0" } } }),
        ]),
        "/process.Process/Connect" => stream(&[start()]),
        "/process.Process/StreamInput" => stream(&[value!({})]),
        _ => json(200, &value!({})),
    })
    .await;
    let pty = sandbox.pty();
    let mut terminal = pty.create(PtySize { cols: 80, rows: 24 }).env("TERM", "dumb").cwd("/").await.unwrap();
    assert_eq!(terminal.next().await.unwrap(), Some(CommandEvent::Pty(Bytes::from_static(b"$ "))));
    assert_eq!(
        mock.last("/process.Process/Start").enveloped(),
        value!({
            "process": {
                "cmd": "/bin/bash", "args": ["-i", "-l"], "cwd": "/",
                "envs": { "TERM": "dumb", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8" },
            },
            "pty": { "size": { "cols": 80, "rows": 24 } },
        })
    );
    pty.send_stdin(7, "ls\n").await.unwrap();
    assert_eq!(mock.last("/process.Process/SendInput").json()["input"], value!({ "pty": "bHMK" }));
    pty.resize(7, PtySize { cols: 1, rows: 2 }).await.unwrap();
    assert_eq!(
        mock.last("/process.Process/Update").json()["pty"],
        value!({ "size": { "cols": 1, "rows": 2 } })
    );
    pty.connect(7, None).await.unwrap();
    pty.stream_input(7, futures_util::stream::iter([Bytes::from("x")])).await.unwrap();
    assert!(pty.kill(7).await.unwrap());
}

#[tokio::test]
async fn the_mcp_gateway_is_started_as_root_or_the_sandbox_is_killed() {
    let mock = Mock::start(|seen| match seen.path.as_str() {
        "/v2/sandboxes" => json(201, &created("i1")),
        "/process.Process/Start" => whole_run(),
        _ => empty(204),
    })
    .await;
    let options = warren_sdk::CreateOptions::new().mcp(value!({ "a": {} }));
    let error = Sandbox::create_with(&mock.config, options).await.unwrap_err();
    assert!(error.to_string().contains("Failed to start MCP gateway"), "{error}");
    assert_eq!(mock.lines().last().unwrap(), "DELETE /sandboxes/i1");
    assert_eq!(mock.last("/v2/sandboxes").json()["templateID"], "mcp-gateway");
    let line = mock.last("/process.Process/Start").enveloped()["process"]["args"][2].clone();
    assert_eq!(line, r#"mcp-gateway --config '{"a":{}}'"#);
}

//! `process.Process` over the wire, on real processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[allow(dead_code, reason = "shared by several test binaries; none uses all of it")]
mod common;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Guest, with_guest};
use serde_json::{Value, json};

fn shell(script: &str) -> String {
    json!({"process": {"cmd": "/bin/sh", "args": ["-c", script]}, "stdin": false}).to_string()
}

/// All bytes of one output.
fn output(messages: &[Value], kind: &str) -> Vec<u8> {
    let pieces = messages.iter().filter_map(|message| message["event"]["data"][kind].as_str());
    pieces.flat_map(|piece| STANDARD.decode(piece).unwrap()).collect()
}

fn end(messages: &[Value]) -> &Value {
    &messages.last().expect("a stream has events")["event"]["end"]
}

async fn run(guest: Guest, script: &str) -> Vec<Value> {
    let (messages, record) = guest.stream("/process.Process/Start", &shell(script), &[]).await;
    assert_eq!(record, json!({}), "{messages:?}");
    assert!(messages[0]["event"]["start"]["pid"].as_u64().is_some_and(|pid| pid > 1));
    messages
}

#[test]
fn output_and_exits_are_told_as_the_reference_does() {
    with_guest(async |guest| {
        let messages = run(guest, "printf out; printf err >&2; exit 3").await;
        assert_eq!(output(&messages, "stdout"), b"out");
        assert_eq!(output(&messages, "stderr"), b"err");
        let status = "exit status 3";
        assert_eq!(
            end(&messages),
            &json!({"exitCode": 3, "exited": true, "status": status, "error": status})
        );
        let messages = run(guest, "true").await;
        assert_eq!(end(&messages), &json!({"exited": true, "status": "exit status 0"}));
        let messages = run(guest, "kill -SEGV $$").await;
        let status = end(&messages)["status"].as_str().unwrap().to_owned();
        assert!(status.starts_with("signal: segmentation fault"), "{status}");
        assert_eq!(end(&messages)["exitCode"], -1);
        assert!(end(&messages).get("exited").is_none());
    });
}

#[test]
fn a_program_that_cannot_run_is_an_exit_status() {
    with_guest(async |guest| {
        let long = "x".repeat(128 << 10);
        for (cmd, arg, code, words) in [
            ("no-such-program", "", 127, "no-such-program: not found"),
            ("/etc/passwd", "", 126, "Permission denied"),
            ("true", &long, 126, "true: Argument list too long"),
        ] {
            let body = json!({"process": {"cmd": cmd, "args": [arg]}}).to_string();
            let (messages, record) = guest.stream("/process.Process/Start", &body, &[]).await;
            assert_eq!(record, json!({}));
            assert_eq!(end(&messages)["exitCode"], code);
            let told = String::from_utf8(output(&messages, "stderr")).unwrap();
            assert!(told.contains(words), "{told}");
        }
    });
}

#[test]
fn every_byte_of_a_long_output_arrives() {
    with_guest(async |guest| {
        let messages = run(guest, "head -c 5000000 /dev/urandom | tee /dev/fd/2 | cat").await;
        let (out, err) = (output(&messages, "stdout"), output(&messages, "stderr"));
        assert_eq!(out.len(), 5_000_000);
        assert!(out == err);
        assert!(messages.iter().all(|message| message["event"]["data"] != json!({})));
    });
}

#[test]
fn refused_starts_end_the_stream_with_an_error() {
    with_guest(async |guest| {
        let refusal = async |body: Value, headers: &[(&str, &str)]| {
            let (messages, record) = guest.stream("/process.Process/Start", &body.to_string(), headers).await;
            assert!(messages.is_empty(), "{messages:?}");
            (record["error"]["code"].as_str().unwrap().to_owned(), record["error"]["message"].to_string())
        };
        let (code, message) = refusal(json!({"process": {"cmd": "true", "cwd": "/no/such"}}), &[]).await;
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("invalid_argument", "\"cwd '/no/such' does not exist\"")
        );
        let (code, _) = refusal(json!({"process": {"cmd": "true", "cwd": "/etc/passwd"}}), &[]).await;
        assert_eq!(code, "invalid_argument");
        let nobody = [("authorization", "Basic bm9zdWNodXNlcjo=")];
        let (code, message) = refusal(json!({"process": {"cmd": "true"}}), &nobody).await;
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("unauthenticated", "\"invalid username: 'nosuchuser'\"")
        );
        let (code, _) = refusal(json!({"process": {"cmd": "true"}}), &[("connect-timeout-ms", "1e3")]).await;
        assert_eq!(code, "invalid_argument");
        let (code, _) = refusal(json!({}), &[]).await;
        assert_eq!(code, "invalid_argument");
    });
}

#[test]
fn a_client_that_leaves_kills_nothing_and_the_end_is_kept() {
    with_guest(async |guest| {
        let pid = guest.start_and_leave(&shell("sleep 0.3; echo late; exit 5")).await;
        let selector = json!({"process": {"pid": pid}}).to_string();
        let listed = guest.call("/process.Process/List", "{}").await.json();
        assert_eq!(listed["processes"][0]["pid"], pid);
        assert_eq!(listed["processes"][0]["config"]["cmd"], "/bin/sh");
        let (messages, _) = guest.stream("/process.Process/Connect", &selector, &[]).await;
        assert_eq!(messages[0]["event"]["start"]["pid"], pid);
        assert_eq!(output(&messages, "stdout"), b"late\n");
        assert_eq!(guest.call("/process.Process/List", "{}").await.json(), json!({}));
        let (messages, _) = guest.stream("/process.Process/Connect", &selector, &[]).await;
        assert_eq!(messages.len(), 2);
        assert_eq!(end(&messages)["exitCode"], 5);
    });
}

#[test]
fn a_kill_does_not_wait_for_children_that_hold_the_output() {
    with_guest(async |guest| {
        let pid = guest.start_and_leave(&shell("sleep 20 & echo started; wait")).await;
        let selector = json!({"process": {"pid": pid}}).to_string();
        let begun = Instant::now();
        let kill = json!({"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}).to_string();
        let watch = guest.stream("/process.Process/Connect", &selector, &[]);
        let killed = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            guest.call("/process.Process/SendSignal", &kill).await
        };
        let ((messages, _), killed) = tokio::join!(watch, killed);
        assert_eq!(killed.status, 200);
        assert_eq!(end(&messages)["status"], "signal: killed");
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(guest.call("/process.Process/SendSignal", &kill).await.status, 404);
    });
}

#[test]
fn when_a_kill_is_answered_the_process_is_gone() {
    with_guest(async |guest| {
        for _ in 0..20 {
            let pid = guest.start_and_leave(&shell("exec sleep 60")).await;
            let kill = json!({"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}).to_string();
            assert_eq!(guest.call("/process.Process/SendSignal", &kill).await.status, 200);
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
            assert_eq!(guest.call("/process.Process/List", "{}").await.json(), json!({}));
        }
    });
}

#[test]
fn a_deadline_kills_the_process_and_ends_the_stream() {
    with_guest(async |guest| {
        let timeout = [("connect-timeout-ms", "200")];
        let (_, record) = guest.stream("/process.Process/Start", &shell("exec sleep 20"), &timeout).await;
        assert_eq!(
            record["error"],
            json!({"code": "deadline_exceeded", "message": "context deadline exceeded"})
        );
        let gone = async || guest.call("/process.Process/List", "{}").await.json() == json!({});
        while !gone().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn input_reaches_the_process_until_it_is_closed() {
    with_guest(async |guest| {
        // It lives on after the end of its input, so that what is refused then is the input.
        let start = json!({"process": {"cmd": "/bin/sh", "args": ["-c", "cat; exec sleep 60"]}, "tag": "c"});
        let pid = guest.start_and_leave(&start.to_string()).await;
        let by_tag = json!({"process": {"tag": "c"}}).to_string();
        let write = json!({"process": {"pid": pid}, "input": {"stdin": STANDARD.encode("hi")}}).to_string();
        let input = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(guest.call("/process.Process/SendInput", &write).await.body, "{}");
            let pty = json!({"process": {"pid": pid}, "input": {"pty": ""}}).to_string();
            let refused = guest.call("/process.Process/SendInput", &pty).await;
            assert_eq!((refused.status, refused.json()["code"].clone()), (500, json!("internal")));
            assert_eq!(guest.call("/process.Process/CloseStdin", &by_tag).await.status, 200);
            let closed = guest.call("/process.Process/SendInput", &write).await.json();
            assert!(closed["message"].as_str().unwrap().contains("stdin not enabled or closed"), "{closed}");
            let end = json!({"process": {"tag": "c"}, "signal": "SIGNAL_SIGKILL"}).to_string();
            assert_eq!(guest.call("/process.Process/SendSignal", &end).await.status, 200);
        };
        let ((messages, _), ()) = tokio::join!(guest.stream("/process.Process/Connect", &by_tag, &[]), input);
        assert_eq!(output(&messages, "stdout"), b"hi");
    });
}

#[test]
fn a_terminal_has_its_size_and_ends_with_its_shell() {
    with_guest(async |guest| {
        let start = json!({
            "process": {"cmd": "/bin/sh", "args": ["-c", "stty size; read line; echo got $line; stty size"]},
            "pty": {"size": {"cols": 100, "rows": 40}},
        });
        let pid = guest.start_and_leave(&start.to_string()).await;
        let selector = json!({"process": {"pid": pid}}).to_string();
        let drive = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let resize =
                json!({"process": {"pid": pid}, "pty": {"size": {"cols": 10, "rows": 5}}}).to_string();
            assert_eq!(guest.call("/process.Process/Update", &resize).await.status, 200);
            let input =
                json!({"process": {"pid": pid}, "input": {"pty": STANDARD.encode("x\n")}}).to_string();
            assert_eq!(guest.call("/process.Process/SendInput", &input).await.status, 200);
        };
        let ((messages, _), ()) =
            tokio::join!(guest.stream("/process.Process/Connect", &selector, &[]), drive);
        let screen = String::from_utf8(output(&messages, "pty")).unwrap();
        assert!(screen.contains("got x\r\n5 10\r\n"), "{screen:?}");
        assert_eq!(end(&messages)["status"], "exit status 0");
    });
}

#[test]
fn the_exec_helper_may_be_killed() {
    with_guest(async |guest| {
        for _ in 0..3 {
            assert_eq!(end(&run(guest, "true").await)["exited"], true);
            let messages = run(guest, "pkill -9 -P $PPID -f [e]xec-helper; true").await;
            assert_eq!(end(&messages)["exited"], true);
        }
    });
}

#[test]
fn malformed_calls_get_their_errors() {
    with_guest(async |guest| {
        let code = async |method: &str, body: &str| {
            let answer = guest.call(method, body).await;
            (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
        };
        assert_eq!(code("/process.Process/List", "").await, (400, "invalid_argument".into()));
        assert_eq!(code("/process.Process/Nope", "{}").await, (501, "unimplemented".into()));
        assert_eq!(
            code("/process.Process/SendSignal", r#"{"process":{"pid":999999}}"#).await,
            (404, "not_found".into())
        );
        let text = guest.post("/process.Process/List", &[("content-type", "text/plain")], b"{}").await;
        assert_eq!(text.status, 415);
        assert_eq!(guest.get("/process.Process/List", &[]).await.status, 405);
        let stream = [("content-type", "application/connect+json")];
        for body in [&b""[..], b"\0\0\0\0\x09{}", b"\x01\0\0\0\x02{}", b"\0\xff\0\0\0", b"\0\0\0\0\x01{"] {
            let answer = guest.post("/process.Process/Start", &stream, body).await;
            assert_eq!(answer.status, 200);
            assert!(answer.body.starts_with(b"\x02"), "{body:?} gave {:?}", answer.body);
        }
    });
}

#[test]
fn a_client_that_does_not_read_delays_no_kill_and_misses_nothing() {
    with_guest(async |guest| {
        let unread = guest.start_unread(&shell("yes")).await;
        let process = |list: &Value| list["processes"][0]["pid"].as_u64();
        let list = async || guest.call("/process.Process/List", "{}").await.json();
        let pid = loop {
            if let Some(pid) = process(&list().await) {
                break pid;
            }
        };
        // Once it is held back, its output no longer grows.
        let written = || std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let mut before = written();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = written();
            if now == before && now.contains("wchar") {
                break;
            }
            before = now;
        }
        let kill = format!(r#"{{"process":{{"pid":{pid}}},"signal":"SIGNAL_SIGKILL"}}"#);
        assert_eq!(guest.call("/process.Process/SendSignal", &kill).await.status, 200);
        let asked = Instant::now();
        while process(&list().await).is_some() {
            assert!(asked.elapsed() < Duration::from_secs(30), "the end waits for who does not read");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (messages, record) = unread.read().await;
        assert_eq!((end(&messages)["status"].as_str(), record), (Some("signal: killed"), json!({})));
        let bytes = output(&messages, "stdout");
        assert!(bytes.len() > 500_000, "{}", bytes.len());
        assert!(bytes.chunks_exact(2).all(|line| line == b"y\n"));
    });
}

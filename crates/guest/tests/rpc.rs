//! The protocol itself: both codecs, compression, framing, and what is refused how.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[allow(dead_code, reason = "shared by several test binaries; none uses all of it")]
mod common;

use std::io::Write as _;

use bytes::Bytes;
use common::{Answer, Guest, with_guest};
use serde_json::{Value, json};
use wire::connect::envelope::{Decoder, FLAG_COMPRESSED, FLAG_END, encode};
use wire::connect::{Codec, Message};
use wire::filesystem::{EntryResponse, FileType, ListDirRequest, ListDirResponse, PathRequest};
use wire::process::{
    ConnectRequest, DataEvent, InputData, InputTarget, ListRequest, ListResponse, ProcessConfig,
    ProcessEvent, ProcessInput, ProcessSelector, SendSignalRequest, Signal, StartRequest, StreamInputRequest,
    StreamResponse,
};

const START: &str = "/process.Process/Start";

fn shell(script: &str) -> StartRequest {
    let args = vec!["-c".to_owned(), script.to_owned()];
    let process = ProcessConfig { cmd: "/bin/sh".into(), args, ..ProcessConfig::default() };
    StartRequest { process: Some(process), stdin: Some(false), ..StartRequest::default() }
}

async fn call<Q: Message, A: Message>(
    guest: Guest,
    codec: Codec,
    method: &str,
    request: &Q,
) -> Result<A, Value> {
    let headers = [("content-type", codec.unary_content_type())];
    let answer = guest.post(method, &headers, &request.encode(codec)).await;
    if answer.status != 200 {
        assert_eq!(answer.header("content-type"), "application/json", "errors are JSON in every codec");
        return Err(answer.json());
    }
    assert_eq!(answer.header("content-type"), codec.unary_content_type());
    Ok(A::decode(codec, &answer.body).unwrap())
}

/// The messages of a stream and its end record, which is JSON in every codec.
fn records<A: Message>(codec: Codec, answer: &Answer) -> (Vec<A>, Value) {
    assert_eq!((answer.status, answer.header("content-type")), (200, codec.stream_content_type()));
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(&answer.body);
    let mut messages = Vec::new();
    while let Some(envelope) = decoder.next_envelope().unwrap() {
        if envelope.flags == FLAG_END {
            decoder.finish().unwrap();
            return (messages, serde_json::from_slice(&envelope.payload).unwrap());
        }
        messages.push(A::decode(codec, &envelope.payload).unwrap());
    }
    panic!("no end record after {} messages", messages.len());
}

async fn stream(
    guest: Guest,
    codec: Codec,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (Vec<StreamResponse>, Value) {
    let headers = [&[("content-type", codec.stream_content_type())], headers].concat();
    records(codec, &guest.post(START, &headers, body).await)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn both_codecs_say_the_same() {
    with_guest(async |guest| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "12345").unwrap();
        let path = dir.path().to_string_lossy().into_owned();
        let mut told: Vec<(Vec<StreamResponse>, ListDirResponse, EntryResponse)> = Vec::new();
        for codec in Codec::ALL {
            let start = shell("printf out; printf err >&2; exit 3").encode(codec);
            let (mut events, end) = stream(guest, codec, &[], &encode(0, &start)).await;
            assert_eq!(end, json!({}));
            assert!(matches!(&events[0].event, ProcessEvent::Start(start) if start.pid > 1), "{events:?}");
            assert!(
                matches!(&events.last().unwrap().event, ProcessEvent::End(end) if end.exit_code == 3 && end.exited),
                "{events:?}"
            );
            events.remove(0);
            events.sort_by_key(|event| matches!(&event.event, ProcessEvent::Data(DataEvent::Stderr(_))));
            let list = ListDirRequest { path: path.clone(), depth: 0 };
            let list = call(guest, codec, "/filesystem.Filesystem/ListDir", &list).await.unwrap();
            let file = PathRequest { path: format!("{path}/a") };
            let found: EntryResponse =
                call(guest, codec, "/filesystem.Filesystem/Stat", &file).await.unwrap();
            let entry = found.entry.as_ref().unwrap();
            assert_eq!((entry.size, entry.file_type, entry.mode), (5, FileType::File, 0o644));
            assert!(entry.modified_time.is_some_and(|time| time.seconds() > 1_700_000_000));
            told.push((events, list, found));
        }
        assert_eq!(told[0], told[1]);
    });
}

#[test]
fn errors_are_the_same_in_both_codecs() {
    with_guest(async |guest| {
        for codec in Codec::ALL {
            let gone = PathRequest { path: "/no/such/file".into() };
            let error = call::<_, EntryResponse>(guest, codec, "/filesystem.Filesystem/Stat", &gone).await;
            assert_eq!(error.unwrap_err()["code"], "not_found", "{codec:?}");
            let process = ProcessSelector::Tag("none".into());
            let body = encode(0, &ConnectRequest { process: process.clone() }.encode(codec));
            let headers = [("content-type", codec.stream_content_type())];
            let answer = guest.post("/process.Process/Connect", &headers, &body).await;
            let (messages, end) = records::<StreamResponse>(codec, &answer);
            assert_eq!((messages.len(), &end["error"]["code"]), (0, &json!("not_found")));
            let signal = SendSignalRequest { process, signal: Signal::Sigkill };
            let error = call::<_, ListResponse>(guest, codec, "/process.Process/SendSignal", &signal).await;
            assert_eq!(error.unwrap_err()["message"], "process with tag none not found");
        }
        // What is no message of the codec.
        for (codec, body) in [(Codec::Json, &b"{"[..]), (Codec::Json, b""), (Codec::Proto, b"\x0a\xff")] {
            let headers = [("content-type", codec.unary_content_type())];
            let answer = guest.post("/filesystem.Filesystem/Stat", &headers, body).await;
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (400, &json!("invalid_argument")),
                "{codec:?}"
            );
            let (_, end) = stream(guest, codec, &[], &encode(0, body)).await;
            assert_eq!(end["error"]["code"], "invalid_argument", "{codec:?}");
        }
        let empty: ListResponse =
            call(guest, Codec::Proto, "/process.Process/List", &ListRequest {}).await.unwrap();
        assert_eq!(empty, ListResponse::default(), "an empty binary message is one");
    });
}

#[test]
fn compressed_requests_are_read() {
    with_guest(async |guest| {
        for codec in Codec::ALL {
            let body = packed(&PathRequest { path: "/".into() }.encode(codec));
            let headers = [("content-type", codec.unary_content_type()), ("content-encoding", "gzip")];
            assert_eq!(guest.post("/filesystem.Filesystem/Stat", &headers, &body).await.status, 200);
            let body = encode(FLAG_COMPRESSED, &packed(&shell("true").encode(codec)));
            let (events, end) = stream(guest, codec, &[("connect-content-encoding", "gzip")], &body).await;
            assert_eq!((events.len(), end), (2, json!({})));
            let (_, end) = stream(guest, codec, &[], &body).await;
            assert_eq!(end["error"]["code"], "internal", "no compression was named");
            let (_, end) = stream(guest, codec, &[("connect-content-encoding", "br")], &body).await;
            assert_eq!(end["error"]["code"], "unimplemented");
        }
        let headers = [("content-type", "application/json"), ("content-encoding", "zstd")];
        let answer = guest.post("/process.Process/List", &headers, b"{}").await;
        assert_eq!((answer.status, &answer.json()["code"]), (501, &json!("unimplemented")));
    });
}

#[test]
fn what_is_too_long_gets_an_answer() {
    with_guest(async |guest| {
        let body = vec![b' '; (32 << 20) + 1];
        let headers = [("content-type", "application/json")];
        let answer = guest.post("/process.Process/List", &headers, &body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (429, &json!("resource_exhausted")));
        let headers = [("content-type", "application/connect+json")];
        let answer = guest.post(START, &headers, &encode(0, &body)).await;
        let (_, end) = records::<StreamResponse>(Codec::Json, &answer);
        assert_eq!(end["error"]["code"], "resource_exhausted");
        let answer = guest.post("/process.Process/StreamInput", &headers, &encode(0, &body)).await;
        let (_, end) = records::<StreamResponse>(Codec::Json, &answer);
        assert_eq!(end["error"]["code"], "resource_exhausted");
        let bomb = packed(&body);
        let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
        assert_eq!(guest.post("/process.Process/List", &headers, &bomb).await.status, 429);
        // A refusal that has nothing to do with the body.
        let headers = [("content-type", "text/plain")];
        assert_eq!(guest.post("/process.Process/List", &headers, &body).await.status, 415);
        assert_eq!(guest.call("/process.Process/List", "{}").await.status, 200);
    });
}

#[test]
fn malformed_streams_are_told_apart_and_harm_nobody() {
    with_guest(async |guest| {
        let message = shell("true").encode(Codec::Json);
        let whole = encode(0, &message);
        for (body, code) in [
            (Bytes::new(), "invalid_argument"),
            (whole.slice(..3), "invalid_argument"),
            (whole.slice(..whole.len() - 1), "invalid_argument"),
            ([&whole[..], &whole[..]].concat().into(), "invalid_argument"),
            (encode(FLAG_END, &message), "invalid_argument"),
            (Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]), "resource_exhausted"),
        ] {
            let (messages, end) = stream(guest, Codec::Json, &[], &body).await;
            assert_eq!((messages.len(), &end["error"]["code"]), (0, &json!(code)), "{body:?}");
        }
        for (name, value) in [("connect-timeout-ms", "soon"), ("connect-protocol-version", "2")] {
            let (_, end) = stream(guest, Codec::Json, &[(name, value)], &whole).await;
            assert_eq!(end["error"]["code"], "invalid_argument", "{name}");
            let headers = [("content-type", "application/json"), (name, value)];
            let answer = guest.post("/process.Process/List", &headers, b"{}").await;
            assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("invalid_argument")), "{name}");
        }
        for wrong in ["application/json", "application/grpc", "application/connect+xml"] {
            let answer = guest.post(START, &[("content-type", wrong)], &whole).await;
            assert_eq!(answer.status, 415, "{wrong}");
            assert!(answer.header("accept-post").contains("application/connect+proto"));
        }
        let (events, end) = stream(guest, Codec::Json, &[], &whole).await;
        assert_eq!((events.len(), end), (2, json!({})));
    });
}

/// A client that types waits for nothing: it hears at once that nobody listens.
#[test]
fn streamed_input_is_refused_while_the_client_goes_on() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    with_guest(async |guest| {
        let mut stream = guest.hold().await;
        let start = encode(0, br#"{"start":{"process":{"pid":0}}}"#);
        let head = format!(
            "POST /process.Process/StreamInput HTTP/1.1\r\nhost: x\r\n\
             content-type: application/connect+json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
            start.len()
        );
        stream.write_all(&[head.as_bytes(), &start, b"\r\n"].concat()).await.unwrap();
        let mut answer = Vec::new();
        let said = |answer: &[u8], text: &str| String::from_utf8_lossy(answer).contains(text);
        while !said(&answer, "not_found") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{answer:?}");
        }
        // The answer ends with the client's side of it, and the connection is as good as before.
        stream.write_all(b"1\r\nx\r\n0\r\n\r\nGET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        while !said(&answer, "HTTP/1.1 204") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{answer:?}");
        }
    });
}

#[test]
fn streamed_input_arrives_and_its_refusals_too() {
    with_guest(async |guest| {
        for codec in Codec::ALL {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("copy");
            let script = format!("head -c 300000 > {}", file.display());
            let request = StartRequest { stdin: Some(true), tag: Some("in".into()), ..shell(&script) };
            let pid = guest.start_and_leave(&String::from_utf8(request.encode(Codec::Json)).unwrap()).await;
            let process = ProcessSelector::Pid(u32::try_from(pid).unwrap());
            let target = StreamInputRequest::Start(InputTarget { process: process.clone() });
            let data = |bytes: Vec<u8>| {
                StreamInputRequest::Data(InputData { input: ProcessInput::Stdin(bytes.into()) })
            };
            let send = async |messages: &[StreamInputRequest]| {
                let body: Vec<u8> = messages.iter().flat_map(|m| encode(0, &m.encode(codec))).collect();
                let headers = [("content-type", codec.stream_content_type())];
                let answer = guest.post("/process.Process/StreamInput", &headers, &body).await;
                records::<wire::process::Empty>(codec, &answer)
            };
            let (_, end) = send(&[data(vec![1])]).await;
            assert_eq!(end["error"]["code"], "failed_precondition");
            let nobody = StreamInputRequest::Start(InputTarget { process: ProcessSelector::Pid(0) });
            assert_eq!(send(&[nobody]).await.1["error"]["code"], "not_found");
            let tty = StreamInputRequest::Data(InputData { input: ProcessInput::Pty(vec![1].into()) });
            assert_eq!(send(&[target.clone(), tty]).await.1["error"]["code"], "internal");
            let keepalive = StreamInputRequest::Keepalive(wire::process::Empty {});
            let pieces: Vec<Vec<u8>> = (0..3u8).map(|n| vec![n; 100_000]).collect();
            let all = [vec![target, keepalive], pieces.iter().cloned().map(data).collect()].concat();
            let (messages, end) = send(&all).await;
            assert_eq!((messages.len(), end), (1, json!({})));
            let body = encode(0, &ConnectRequest { process }.encode(codec));
            let headers = [("content-type", codec.stream_content_type())];
            records::<StreamResponse>(codec, &guest.post("/process.Process/Connect", &headers, &body).await);
            assert!(std::fs::read(&file).unwrap() == pieces.concat());
        }
    });
}

//! Traces, as a collector gets them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use sdk::Sandbox;
use serde_json::Value;

use crate::server::{Server, command, template};

/// A collector that takes every batch and hands its spans on.
fn collector() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (spans, got) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            take(&stream.unwrap(), &spans);
        }
    });
    (address, got)
}

fn take(mut stream: &std::net::TcpStream, spans: &Sender<Value>) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut is_json) = (String::new(), 0, false);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "POST /v1/traces HTTP/1.1\r\n");
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" => is_json = value == "application/json",
            _ => {}
        }
    }
    assert!(is_json);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let batch: Value = serde_json::from_slice(&body).unwrap();
    let resource = &batch["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "warren");
    for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
        // Whoever listens may have seen enough.
        let _ = spans.send(span.clone());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
}

fn number(span: &Value, field: &str) -> u128 {
    span[field].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_create_is_one_trace_from_the_request_to_the_daemon() {
    let state = tempfile::tempdir().unwrap();
    template(state.path());
    let (address, got) = collector();
    let mut warren = command(Command::new(env!("CARGO_BIN_EXE_warren")), state.path());
    warren.env("OTEL_EXPORTER_OTLP_ENDPOINT", address);
    let server = Server::run(warren);
    let sandbox = Sandbox::create(&server.config).await.unwrap();
    let mut spans: Vec<Value> = Vec::new();
    let request = loop {
        let span = got.recv_timeout(Duration::from_mins(1)).unwrap();
        spans.push(span.clone());
        let is_create = span["name"] == "request" && span["attributes"].to_string().contains("/v2/sandboxes");
        if is_create {
            break span;
        }
    };
    let below = |parent: &Value| -> Vec<&Value> {
        let of =
            |span: &&Value| span["parentSpanId"] == parent["spanId"] && span["traceId"] == parent["traceId"];
        spans.iter().filter(of).collect()
    };
    assert_eq!(request["parentSpanId"], "");
    assert!(request["attributes"].to_string().contains("201"), "{request}");
    let create = below(&request)[0];
    assert_eq!(create["name"], "create");
    assert!(create["attributes"].to_string().contains(sandbox.id()), "{create}");
    let steps = below(create);
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    for name in [
        "reserving",
        "preparing its root and network",
        "starting its first process",
        "waiting for its daemon",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    for span in &spans {
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
        assert!(number(span, "startTimeUnixNano") <= number(span, "endTimeUnixNano"));
    }
    let inside = |step: &&Value| {
        number(step, "startTimeUnixNano") >= number(create, "startTimeUnixNano")
            && number(step, "endTimeUnixNano") <= number(create, "endTimeUnixNano")
    };
    assert!(steps.iter().all(inside), "{steps:#?}");
    sandbox.kill().await.unwrap();
}

//! A "process" of the simulation: it prints its last argument and ends with the
//! status that the argument names as `exit N`, else with 0.
//!
//! Some arguments do something besides: `let NAME VALUE` keeps a variable in the
//! guest's memory, `show NAME` prints it instead, `rm PATH` and `mv FROM TO` change
//! files. What cannot be done ends with 1.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::guest::{Answer, Guest, answer};

fn envelope(flags: u8, message: &Value) -> Vec<u8> {
    let payload = message.to_string();
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![flags];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(payload.as_bytes());
    bytes
}

/// What a script prints, and how it ends.
fn run(guest: &Guest, script: &str) -> (String, i32) {
    let words: Vec<&str> = script.split_whitespace().collect();
    let path = |path: &str| guest.path(Path::new(path));
    let done = match words[..] {
        ["let", name, value] => {
            guest.lock().variables.insert(name.to_owned(), value.to_owned());
            Ok(())
        }
        ["show", name] => {
            let value = guest.lock().variables.get(name).cloned();
            return value.map_or((String::new(), 1), |value| (value, 0));
        }
        ["rm", target] => path(target).and_then(std::fs::remove_file),
        ["mv", from, to] => path(from).and_then(|from| std::fs::rename(from, path(to)?)),
        _ => {
            let code = script.split_once("exit ").and_then(|(_, code)| code.trim().parse().ok());
            return (script.to_owned(), code.unwrap_or_default());
        }
    };
    (script.to_owned(), i32::from(done.is_err()))
}

/// Answers `process.Process/Start` with a whole stream.
pub(super) fn start(guest: &Guest, request: &[u8]) -> Answer {
    let request: Value =
        request.get(5..).and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let args = request["process"]["args"].as_array();
    let script = args.and_then(|args| args.last()).and_then(Value::as_str).unwrap_or_default();
    let (printed, exit_code) = run(guest, script);
    let output = json!({ "data": { "stdout": STANDARD.encode(format!("{printed}\n")) } });
    let end = json!({ "end": { "exitCode": exit_code, "exited": true, "status": format!("exit status {exit_code}") } });
    let mut body = Vec::new();
    for event in [json!({ "start": { "pid": 100 } }), output, end] {
        body.extend(envelope(0, &json!({ "event": event })));
    }
    body.extend(envelope(2, &json!({})));
    let mut response = answer(StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/connect+json"));
    response
}

//! A "process" of the simulation: it prints its last argument and ends with the
//! status that the argument names as `exit N`, else with 0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::guest::{Answer, answer};

fn envelope(flags: u8, message: &Value) -> Vec<u8> {
    let payload = message.to_string();
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![flags];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(payload.as_bytes());
    bytes
}

/// Answers `process.Process/Start` with a whole stream.
pub(super) fn start(request: &[u8]) -> Answer {
    let request: Value =
        request.get(5..).and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let args = request["process"]["args"].as_array();
    let script = args.and_then(|args| args.last()).and_then(Value::as_str).unwrap_or_default();
    let exit_code: i32 =
        script.split_once("exit ").and_then(|(_, code)| code.trim().parse().ok()).unwrap_or_default();
    let output = json!({ "data": { "stdout": STANDARD.encode(format!("{script}\n")) } });
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

//! The library against answers as the contract gives them, and against faults.
//! Needs no server and no root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod code;
mod commands;
mod control;
mod faults;
mod files;
mod git;
mod mock;
mod parity;
mod pool;
mod service;
mod template;
mod volume;

use mock::{Mock, Reply, Seen, empty, failure, json};
use serde_json::{Value, json};
use warren_sdk::Sandbox;

/// The answer of a create, from the contract.
fn created(id: &str) -> Value {
    json!({
        "templateID": "rki5dems9wqfm4r03t7g", "sandboxID": id, "clientID": "6532622b", "alias": "base",
        "envdVersion": "0.6.13", "envdAccessToken": "secret-token", "trafficAccessToken": null,
    })
}

/// A sandbox, and a server that answers everything but its creation.
async fn sandbox(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Mock, Sandbox) {
    let mock = Mock::start(move |seen| {
        if seen.line() == "POST /v2/sandboxes" { json(201, &created("i1")) } else { answer(seen) }
    })
    .await;
    let sandbox = Sandbox::create(&mock.config).await.unwrap();
    (mock, sandbox)
}

/// What the proxy says of a sandbox that ended.
fn gone() -> Reply {
    let message = "The sandbox was not found";
    mock::json(502, &serde_json::json!({ "sandboxId": "i1", "message": message, "code": 502 }))
}

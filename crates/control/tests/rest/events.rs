//! Lifecycle events, and the webhooks that are told of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::World;

fn kinds(events: &Value) -> Vec<&str> {
    let kind = |event: &'_ Value| -> &'static str {
        let text = event["type"].as_str().unwrap();
        ["created", "updated", "killed"].into_iter().find(|kind| text.ends_with(kind)).unwrap()
    };
    events.as_array().unwrap().iter().map(kind).collect()
}

#[tokio::test]
async fn webhooks_lead_out_unless_the_operator_says_otherwise() {
    let world = World::with(|options| options.private_webhooks = false).await;
    let hook = |url: &str| {
        format!(
            r#"{{"name":"x","url":"{url}","events":["sandbox.lifecycle.created"],"signatureSecret":"s"}}"#
        )
    };
    for url in ["http://127.0.0.1:1/", "http://[::ffff:169.254.169.254]/", "https://10.0.0.1/"] {
        let body = world.post("/events/webhooks", &hook(url)).await.error(400);
        assert!(body["message"].as_str().unwrap().contains("api.private_webhooks"), "{body}");
    }
    // A name is judged when it is posted to, by what it leads to then.
    let made = world.post("/events/webhooks", &hook("http://localhost:1/")).await.expect(201).json();
    let (stop, app) = (tokio_util::sync::CancellationToken::new(), world.app.clone());
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { app.run(stop).await }
    });
    world.create_base().await;
    let path = format!("/events/webhooks/{}/undelivered", made["id"].as_str().unwrap());
    let error = loop {
        let undelivered = world.get(&path).await.expect(200).json();
        if let Some(error) = undelivered[0]["error"].as_str() {
            break error.to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert!(error.contains("private address"), "{error}");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_life_in_events() {
    let world = World::new().await;
    let id = world.create(r#"{"templateID":"base","metadata":{"a":"b"}}"#).await;
    world.pass(Duration::from_secs(2));
    world.post(&format!("/sandboxes/{id}/timeout"), r#"{"timeout":60}"#).await.expect(204);
    world.pass(Duration::from_secs(2));
    let other = world.create_base().await;
    world.pass(Duration::from_secs(1));
    world.delete(&format!("/sandboxes/{id}")).await.expect(204);

    let events = world.get("/events/sandboxes").await.expect(200).json();
    assert_eq!(kinds(&events), ["killed", "created", "updated", "created"], "the newest first");
    let killed = &events[0];
    assert_eq!((&killed["version"], &killed["sandboxId"]), (&"v1".into(), &id.to_string().into()));
    assert_eq!(killed["eventData"]["sandbox_metadata"], json!({"a": "b"}));
    assert_eq!(killed["eventData"]["execution"]["execution_time"], 5000);
    assert_eq!(killed["eventData"]["cause"], "killed");
    assert_eq!(killed["sandboxExecutionId"], events[3]["sandboxExecutionId"]);
    assert_ne!(killed["sandboxExecutionId"], events[1]["sandboxExecutionId"]);
    assert!(events[2]["eventData"]["set_timeout"].is_string());

    let own = format!("/events/sandboxes/{other}");
    assert_eq!(kinds(&world.get(&own).await.expect(200).json()), ["created"]);
    let page = world.get("/events/sandboxes?orderAsc=true&limit=1&offset=1").await.expect(200).json();
    assert_eq!(kinds(&page), ["updated"]);
    let types = "types=sandbox.lifecycle.killed&types=sandbox.lifecycle.updated";
    let some = world.get(&format!("/events/sandboxes?{types}")).await.expect(200).json();
    assert_eq!(kinds(&some), ["killed", "updated"]);
    for bad in ["limit=0", "limit=101", "offset=-1", "orderAsc=x", "types=nothing"] {
        world.get(&format!("/events/sandboxes?{bad}")).await.error(400);
    }
}

type Inbox = Arc<Mutex<(Vec<(HeaderMap, Bytes)>, u16)>>;

async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut inbox = inbox.lock().unwrap();
    inbox.0.push((headers, body));
    StatusCode::from_u16(inbox.1).unwrap()
}

async fn receiver() -> (String, Inbox) {
    let inbox: Inbox = Arc::new(Mutex::new((Vec::new(), 200)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(take)).with_state(Arc::clone(&inbox));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, inbox)
}

/// Waits for a level; the runner's own limit ends a wait for ever.
async fn until(mut done: impl AsyncFnMut() -> bool) {
    while !done().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_webhook_is_told_what_it_asked_for_signed() {
    let world = World::new().await;
    let (url, inbox) = receiver().await;
    let settings = json!({"name": "mine", "url": url, "enabled": true,
        "events": ["sandbox.lifecycle.created"], "signatureSecret": "s3cret"});
    let made = world.post("/events/webhooks", &settings.to_string()).await.expect(201);
    assert!(!made.text.contains("s3cret"));
    let hook = format!("/events/webhooks/{}", made.json()["id"].as_str().unwrap());
    assert_eq!(world.get(&hook).await.expect(200).json()["url"], url.as_str());

    let (stop, app) = (CancellationToken::new(), world.app.clone());
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { app.run(stop).await }
    });
    let id = world.create_base().await;
    world.delete(&format!("/sandboxes/{id}")).await.expect(204);
    until(async || !inbox.lock().unwrap().0.is_empty()).await;
    until(async || world.get(&format!("{hook}/undelivered")).await.json() == json!([])).await;
    let (headers, body) = inbox.lock().unwrap().0.remove(0);
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&told["version"], &told["type"]), (&"v2".into(), &"sandbox.lifecycle.created".into()));
    assert_eq!(told["sandboxId"], id.to_string());
    assert_eq!(headers["e2b-signature-version"], "v1");
    assert!(headers.contains_key("e2b-delivery-id") && headers.contains_key("e2b-webhook-id"));
    let digest = <sha2::Sha256 as sha2::Digest>::digest([b"s3cret", &body[..]].concat());
    let expected = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, digest);
    assert_eq!(headers["e2b-signature"], expected.as_str());

    // What cannot be delivered is tried again with growing waits, then kept aside.
    inbox.lock().unwrap().1 = 500;
    world.create_base().await;
    for attempts in 1..=4 {
        until(async || {
            world.get(&format!("{hook}/undelivered")).await.json()[0]["attempts"] == json!(attempts)
        })
        .await;
        world.pass(Duration::from_secs(10 << (attempts - 1)));
    }
    let dead = world.get(&format!("{hook}/undelivered")).await.expect(200).json();
    assert_eq!(dead[0]["nextAttemptAt"], Value::Null);
    assert!(dead[0]["error"].as_str().unwrap().contains("500"));
    let ids: std::collections::HashSet<_> =
        inbox.lock().unwrap().0.iter().map(|(headers, _)| headers["e2b-delivery-id"].clone()).collect();
    assert_eq!((ids.len(), inbox.lock().unwrap().0.len()), (1, 4), "four attempts at one delivery");

    // A disabled one is told nothing.
    world.send(world.request("PATCH", &hook, r#"{"enabled":false}"#)).await.expect(200);
    world.create_base().await;
    assert_eq!(world.get(&format!("{hook}/undelivered")).await.json().as_array().unwrap().len(), 1);
    world.delete(&hook).await.expect(200);
    world.get(&hook).await.error(404);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn settings_that_nobody_can_be_told_by_are_refused() {
    let world = World::new().await;
    let good = json!({"name": "n", "url": "https://example.com/x",
        "events": ["sandbox.lifecycle.killed"], "signatureSecret": "s"});
    for (field, value) in [
        ("name", json!("")),
        ("url", json!("ftp://example.com")),
        ("url", json!("/relative")),
        ("events", json!([])),
        ("events", json!(["sandbox.lifecycle.sung"])),
        ("signatureSecret", json!("")),
    ] {
        let mut settings = good.clone();
        settings[field] = value;
        world.post("/events/webhooks", &settings.to_string()).await.error(400);
    }
    for _ in 0..50 {
        world.post("/events/webhooks", &good.to_string()).await.expect(201);
    }
    world.post("/events/webhooks", &good.to_string()).await.error(400);
}

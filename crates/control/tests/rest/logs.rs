//! Logs: what we did and what the daemon inside told, in both forms.

use std::time::Duration;

use serde_json::Value;
use warren_control::AppOptions;
use wire::control::LogLevel;

use crate::world::World;

async fn world(dir: &tempfile::TempDir) -> World {
    let logs = store::Logs::open(dir.path()).unwrap();
    World::with(|options: &mut AppOptions| options.logs = Some(logs)).await
}

fn messages(answer: &Value) -> Vec<&str> {
    answer.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lines_of_both_sides_in_order_and_after_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(&dir).await;
    let id = world.create_base().await;
    world.node.tell(&id, LogLevel::Info, "Process started");
    world.pass(Duration::from_secs(1));
    world.node.tell(&id, LogLevel::Error, "It failed");
    let answer = world.get(&format!("/sandboxes/{id}/logs")).await.expect(200).json();
    assert_eq!(messages(&answer["logEntries"]), ["Sandbox started", "Process started", "It failed"]);
    assert_eq!(answer["logEntries"][1]["fields"]["pid"], "7");
    let lines = answer["logs"].as_array().unwrap();
    let parsed: Value = serde_json::from_str(lines[2]["line"].as_str().unwrap()).unwrap();
    assert_eq!((&parsed["level"], &parsed["logger"]), (&"error".into(), &"process".into()));

    // Who follows asks for what is later than the last line's millisecond.
    let last = lines[2]["timestamp"].as_str().unwrap().parse::<wire::rest::Rfc3339>().unwrap();
    world.node.tell(&id, LogLevel::Info, "More");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let next = format!("/sandboxes/{id}/logs?start={}", last.unix_micros() / 1000 + 1);
    assert_eq!(messages(&world.get(&next).await.expect(200).json()["logEntries"]), ["More"]);

    world.node.tell(&id, LogLevel::Info, "Last words");
    tokio::time::sleep(Duration::from_millis(250)).await;
    world.delete(&format!("/sandboxes/{id}")).await.expect(204);
    let after = world.get(&format!("/v2/sandboxes/{id}/logs?limit=2")).await.expect(200).json();
    assert_eq!(messages(&after["logs"]), ["Sandbox ended: it was killed by a request", "Last words"]);
    let stranger = world.get("/sandboxes/i0unknown/logs").await.expect(200).json();
    assert_eq!(stranger, serde_json::json!({"logs": [], "logEntries": []}));
}

#[tokio::test]
async fn a_rollback_loses_no_line_of_before_or_after() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(&dir).await;
    world.node.give_memory();
    let id = world.create_base().await;
    let path = format!("/sandboxes/{id}");
    world.node.tell(&id, LogLevel::Info, "One");
    let taken = world.post(&format!("{path}/snapshots"), "{}").await.expect(201).json();
    for text in ["Two", "Three"] {
        world.node.tell(&id, LogLevel::Info, text);
    }
    world.node.roll_journals_back_to(1);
    let body = serde_json::json!({ "snapshotID": taken["snapshotID"] }).to_string();
    world.post(&format!("{path}/rollback"), &body).await.expect(200);
    world.node.tell(&id, LogLevel::Info, "Another two");
    world.delete(&path).await.expect(204);
    let lines = world.get(&format!("/v2{path}/logs?direction=forward")).await.expect(200).json();
    let told = [
        "Sandbox started",
        "Snapshot taken",
        "One",
        "Two",
        "Three",
        "Sandbox rolled back",
        "Another two",
        "Sandbox ended: it was killed by a request",
    ];
    assert_eq!(messages(&lines["logs"]), told);
}

#[tokio::test]
async fn filters_and_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(&dir).await;
    let id = world.create_base().await;
    for n in 0..1500 {
        let level = if n % 500 == 0 { LogLevel::Warn } else { LogLevel::Debug };
        world.node.tell(&id, level, &format!("Line {n}"));
    }
    let get = async |query: &str| {
        world.get(&format!("/v2/sandboxes/{id}/logs?{query}")).await.expect(200).json()["logs"].clone()
    };
    // One fetch takes a thousand; the rest comes with the next.
    assert_eq!(get("").await.as_array().unwrap().len(), 1000);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(messages(&get("direction=forward&level=WARN").await), ["Line 0", "Line 500", "Line 1000"]);
    assert_eq!(messages(&get("search=LINE+1499").await), ["Line 1499"]);
    assert_eq!(get("limit=0").await, serde_json::json!([]));
    assert_eq!(get("direction=forward&cursor=99999999999999").await, serde_json::json!([]));
    for bad in
        ["limit=1001", "direction=up", "level=loud", &format!("search={}", "x".repeat(257)), "cursor=-1"]
    {
        world.get(&format!("/v2/sandboxes/{id}/logs?{bad}")).await.error(400);
    }
}

#[tokio::test]
async fn a_restart_takes_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world(&dir).await;
    let id = world.create_base().await;
    world.node.tell(&id, LogLevel::Info, "one");
    let uri = format!("/sandboxes/{id}/logs");
    world.get(&uri).await.expect(200);
    world.app = world.restarted();
    world.node.tell(&id, LogLevel::Info, "two");
    let answer = world.get(&uri).await.expect(200).json();
    assert_eq!(messages(&answer["logEntries"]), ["Sandbox started", "one", "two"]);
}

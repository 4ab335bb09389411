//! Snapshots, forks, rollbacks, and pauses that keep memory: answers and refusals.

use model::BuildId;
use node::{Phase, Waking};
use serde_json::{Value, json};

use crate::reconcile::until;
use crate::world::World;

async fn with_memory() -> World {
    let world = World::new().await;
    world.node.give_memory();
    world
}

async fn take(world: &World, id: &model::SandboxId, body: &str) -> Value {
    world.post(&format!("/sandboxes/{id}/snapshots"), body).await.expect(201).json()
}

async fn listed(world: &World, query: &str) -> Vec<String> {
    let answer = world.get(&format!("/snapshots?{query}")).await.expect(200).json();
    answer.as_array().unwrap().iter().map(|one| one["snapshotID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn snapshots_are_taken_listed_started_from_and_deleted() {
    let world = with_memory().await;
    let (id, other) = (world.create_base().await, world.create_base().await);
    let bare = take(&world, &id, "{}").await;
    let bare = bare["snapshotID"].as_str().unwrap();
    assert!(bare.ends_with(":default"), "{bare}");
    world.pass(std::time::Duration::from_secs(1));
    let named = take(&world, &other, r#"{"name":"mine:v1","memory":false}"#).await;
    assert_eq!(named["snapshotID"], "default/mine:v1");
    assert_eq!((&named["names"], &named["memory"]), (&json!(["default/mine"]), &json!(false)));
    let first_build = listed(&world, "name=mine").await;
    assert_eq!(first_build, ["default/mine:v1"]);
    world.pass(std::time::Duration::from_secs(1));
    take(&world, &id, r#"{"name":"default/mine"}"#).await;
    assert_eq!(listed(&world, "").await, ["default/mine:default", bare], "newest first, one for each name");
    assert_eq!(listed(&world, "name=mine:v1").await, ["default/mine:v1"]);
    assert_eq!(listed(&world, &format!("sandboxID={other}")).await, ["default/mine:v1"]);
    for (query, count) in [("name=nobodys", 0), ("sandboxID=inobody", 0), ("limit=1", 1)] {
        assert_eq!(listed(&world, query).await.len(), count, "{query}");
    }
    let page = world.get("/snapshots?limit=1").await;
    assert_eq!(page.headers["x-next-token"], "1");
    for bad in ["limit=0", "nextToken=x", "name=a/b/c", "sandboxID=A!"] {
        world.get(&format!("/snapshots?{bad}")).await.error(400);
    }
    let templates = world.get("/templates").await.json();
    assert!(!templates.to_string().contains("mine"), "a snapshot is no template of the list");

    let child = world.create(r#"{"templateID":"default/mine:v1"}"#).await;
    let refused = world.delete("/templates/default%2Fmine:v1").await.error(400);
    assert!(refused["message"].as_str().unwrap().contains("running sandboxes using it"), "{refused}");
    world.post(&format!("/sandboxes/{child}/pause"), "").await.expect(204);
    let refused = world.delete("/templates/default%2Fmine:v1").await.error(400);
    assert!(refused["message"].as_str().unwrap().contains("paused sandboxes using it"), "{refused}");
    world.delete(&format!("/sandboxes/{child}")).await.expect(204);
    world.delete("/templates/default%2Fmine:v1").await.expect(204);
    world.delete("/templates/default%2Fmine:v1").await.error(404);
    assert_eq!(world.node.builds.forgotten.lock().unwrap().len(), 2);
    assert_eq!(listed(&world, "").await, [bare]);
}

#[tokio::test]
async fn snapshots_are_refused_in_words() {
    let world = World::new().await;
    let id = world.create_base().await;
    let path = format!("/sandboxes/{id}/snapshots");
    let refused = world.post(&path, "{}").await.error(501);
    assert!(refused["message"].as_str().unwrap().contains("memory: false"), "{refused}");
    for bad in ["other/name", "base:a/b", "a b"] {
        world.post(&path, &json!({"name": bad, "memory": false}).to_string()).await.error(400);
    }
    world.post(&path, r#"{"memory":false}"#).await.expect(201);
    world.post(&format!("/sandboxes/{id}/pause"), r#"{"memory":false}"#).await.expect(204);
    world.post(&path, r#"{"memory":false}"#).await.error(404);
    world.node.set_phase(&id, Phase::Pausing);
    world.post(&path, r#"{"memory":false}"#).await.error(409);
}

#[tokio::test]
async fn one_whose_state_is_being_written_down_waits_for_no_other_change() {
    let world = with_memory().await;
    let id = world.create_base().await;
    world.node.set_snapshotting(&id, true);
    for (call, body) in
        [("snapshots", "{}"), ("fork", "{}"), ("timeout", r#"{"timeout":9}"#), ("refreshes", "{}")]
    {
        let refused = world.post(&format!("/sandboxes/{id}/{call}"), body).await.error(409);
        let said = refused["message"].as_str().unwrap();
        assert!(said.ends_with("is being snapshotted"), "{call}: {said}");
    }
    // It is shown as one that runs, and is connected to as such.
    assert_eq!(world.get(&format!("/sandboxes/{id}")).await.expect(200).json()["state"], "running");
    world.post(&format!("/v2/sandboxes/{id}/connect"), "{}").await.expect(200);
    world.node.set_snapshotting(&id, false);
    world.post(&format!("/sandboxes/{id}/snapshots"), "{}").await.expect(201);
}

#[tokio::test]
async fn a_snapshot_without_a_row_is_forgotten() {
    let world = World::new().await;
    let lost = BuildId::from_u128(77);
    world.node.plant_snapshot(lost);
    until(&world.app, async || *world.node.builds.forgotten.lock().unwrap() == [lost]).await;
}

#[tokio::test]
async fn forks_are_told_one_by_one() {
    let world = with_memory().await;
    let id = world.create_base().await;
    let path = format!("/sandboxes/{id}/fork");
    let forks = world.post(&path, r#"{"count":3,"timeout":60}"#).await.expect(201).json();
    let forks = forks.as_array().unwrap();
    let ids: std::collections::BTreeSet<&str> =
        forks.iter().map(|fork| fork["sandbox"]["sandboxID"].as_str().unwrap()).collect();
    let tokens: std::collections::BTreeSet<&str> =
        forks.iter().map(|fork| fork["sandbox"]["envdAccessToken"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), tokens.len()), (3, 3), "{forks:?}");
    assert!(world.node.last_order().from.is_some());
    let no_room = node::Error::Exhausted { what: "memory", wanted: "1".to_owned(), free: "0".to_owned() };
    world.node.fail_create(no_room);
    let forks = world.post(&path, r#"{"count":2}"#).await.expect(201).json();
    let failed: Vec<&Value> =
        forks.as_array().unwrap().iter().filter(|fork| fork["error"].is_object()).collect();
    assert_eq!(failed.len(), 1, "{forks}");
    assert_eq!(failed[0]["error"]["code"], 503);
    for (body, text) in [
        (r#"{"count":0}"#, "Count must be at least 1"),
        (r#"{"count":101}"#, "Count cannot be greater than 100"),
    ] {
        assert_eq!(world.post(&path, body).await.error(400)["message"], text);
    }
    world.post("/sandboxes/inobody/fork", "").await.error(404);
    world.post(&format!("/sandboxes/{id}/pause"), "").await.expect(204);
    let refused = world.post(&path, "").await.error(409);
    assert_eq!(
        refused["message"],
        format!("sandbox '{id}' is paused and cannot be forked; resume it first").as_str()
    );
}

#[tokio::test]
async fn memory_is_kept_woken_rebooted_and_refused_where_the_daemon_was_stuck() {
    let world = with_memory().await;
    let id = world.create_base().await;
    let (pause, connect) = (format!("/sandboxes/{id}/pause"), format!("/v2/sandboxes/{id}/connect"));
    world.pass(std::time::Duration::from_secs(1));
    world.post(&pause, "").await.expect(204);
    world.pass(std::time::Duration::from_secs(1));
    let seen = world.get(&format!("/sandboxes/{id}")).await.json();
    assert_eq!((&seen["state"], &seen["pauseMode"]), (&json!("paused"), &json!("full")));
    world.post(&connect, "").await.expect(201);
    assert_eq!(world.node.last_waking(), Waking::Kept);
    world.pass(std::time::Duration::from_secs(1));
    world.post(&pause, "").await.expect(204);
    world.pass(std::time::Duration::from_secs(1));
    world.post(&connect, r#"{"memory":false}"#).await.expect(201);
    assert_eq!(world.node.last_waking(), Waking::Reboot);

    world.node.stick(true);
    for strict in [r#"{"requireHealthyGuest":true}"#, r#"{"memory":false}"#] {
        world.post(&pause, strict).await.error(503);
    }
    world.pass(std::time::Duration::from_secs(1));
    world.post(&pause, "").await.expect(204);
    world.pass(std::time::Duration::from_secs(1));
    world.node.stick(false);
    let seen = world.get(&format!("/sandboxes/{id}")).await.json();
    assert_eq!(seen["envdUnresponsiveAtPause"], true);
    let refused = world.post(&connect, "").await.error(409);
    assert_eq!(refused["error_code"], "sandbox_snapshot_guest_agent_unresponsive");
    world.post(&connect, r#"{"memory":false}"#).await.expect(201);

    let events = world.get(&format!("/events/sandboxes/{id}?orderAsc=true")).await.json();
    let kinds: Vec<&str> = events
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["type"].as_str()?.split('.').next_back())
        .collect();
    let round = ["paused", "resumed"];
    assert_eq!(kinds, [&["created"][..], &round, &round, &round].concat());
    assert!(events[1]["eventData"]["execution"]["execution_time"].is_u64(), "{events}");
}

#[tokio::test]
async fn a_rollback_wants_a_snapshot_of_the_same_sandbox() {
    let world = with_memory().await;
    let (id, other) = (world.create_base().await, world.create_base().await);
    let snapshot = take(&world, &id, r#"{"name":"before"}"#).await["snapshotID"].as_str().unwrap().to_owned();
    let body = json!({"snapshotID": snapshot}).to_string();
    let back = world.post(&format!("/sandboxes/{id}/rollback"), &body).await.expect(200).json();
    assert_eq!(back["sandboxID"], id.as_str());
    world.post(&format!("/sandboxes/{other}/rollback"), &body).await.error(400);
    world.post(&format!("/sandboxes/{id}/rollback"), r#"{"snapshotID":"base"}"#).await.error(403);
    world.post(&format!("/sandboxes/{id}/rollback"), r#"{"snapshotID":"nothing"}"#).await.error(404);
    world.post(&format!("/sandboxes/{id}/pause"), "").await.expect(204);
    world.post(&format!("/sandboxes/{id}/rollback"), &body).await.expect(200);
}

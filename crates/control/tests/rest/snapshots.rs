//! Snapshots, forks, rollbacks, and pauses that keep memory: answers and refusals.

use model::BuildId;
use node::{Phase, Waking};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

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
async fn forks_have_their_time_together() {
    let world = World::with(|options| options.create_limit = std::time::Duration::from_millis(200)).await;
    world.node.give_memory();
    let id = world.create_base().await;
    world.node.hang_creates();
    let forks = world.post(&format!("/sandboxes/{id}/fork"), r#"{"count":30}"#).await.expect(201).json();
    let failed = forks.as_array().unwrap().iter().filter(|fork| fork["error"]["code"] == 504).count();
    assert_eq!(failed, 30, "{forks}");
    // The source, and those that are begun at a time: no others after their time was up.
    assert_eq!(world.node.created(), 1 + 8);
}

/// Whatever is stuck, the server leaves; and no child is begun from then on.
#[tokio::test]
async fn a_stop_waits_only_so_long_for_a_fork() {
    let world = World::with(|options| options.stop_limit = std::time::Duration::from_millis(50)).await;
    world.node.give_memory();
    let id = world.create_base().await;
    world.node.hang_creates();
    let path = format!("/sandboxes/{id}/fork");
    let stop = CancellationToken::new();
    let forking = world.post(&path, r#"{"count":30}"#);
    let stopping = async {
        while world.node.created() < 1 + 8 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        world.app.run(stop.clone()).await;
        // Those that are begun are let go, each for a next one.
        world.node.let_creates_fail();
    };
    let (forks, ()) = tokio::join!(forking, stopping);
    let forks = forks.expect(201).json();
    let refused = |fork: &&Value| fork["error"]["code"] == 503;
    assert_eq!(forks.as_array().unwrap().iter().filter(refused).count(), 30, "{forks}");
    assert_eq!(world.node.created(), 1 + 8);
    let text =
        world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await.error(503)["message"].to_string();
    assert!(text.contains("shutting down"), "{text}");
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
    let no_disk = node::Error::DiskFull { sandbox_id: id.clone(), what: "reserving", why: "full".to_owned() };
    world.node.fail_create(no_disk);
    let forks = world.post(&path, r#"{"count":2}"#).await.expect(201).json();
    let (made, failed): (Vec<&Value>, Vec<&Value>) =
        forks.as_array().unwrap().iter().partition(|fork| fork["sandbox"].is_object());
    assert_eq!((made.len(), failed.len()), (1, 1), "{forks}");
    let (code, message) = (&failed[0]["error"]["code"], failed[0]["error"]["message"].as_str().unwrap());
    assert!(*code == 507 && message.contains("disk"), "{forks}");
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

fn differences() -> Vec<node::Difference> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let state = |kind, size| Some(node::FileState { kind, size, mode: 0o4755, uid: 0, gid: 1000 });
    let (file, link) = (node::FileKind::File, node::FileKind::Symlink);
    vec![
        node::Difference { path: "/home/new".into(), before: None, after: state(file, 7) },
        node::Difference {
            path: OsStr::from_bytes(b"/home/\xff").into(),
            before: state(file, 7),
            after: None,
        },
        node::Difference { path: "/usr/bin/x".into(), before: state(file, 7), after: state(link, 3) },
    ]
}

#[tokio::test]
async fn snapshots_are_compared_page_by_page() {
    let world = with_memory().await;
    let id = world.create_base().await;
    take(&world, &id, r#"{"name":"before"}"#).await;
    let bare = take(&world, &id, "{}").await["snapshotID"].as_str().unwrap().to_owned();
    world.node.differ(differences());
    let file = json!({ "kind": "file", "sizeBytes": 7, "mode": 0o4755, "uid": 0, "gid": 1000 });
    let link = json!({ "kind": "symlink", "sizeBytes": 3, "mode": 0o4755, "uid": 0, "gid": 1000 });
    let wanted = [
        json!({ "path": "/home/new", "change": "added", "after": file }),
        json!({ "path": "/home/\u{fffd}", "pathBase64": "L2hvbWUv/w==", "change": "removed", "before": file }),
        json!({ "path": "/usr/bin/x", "change": "modified", "before": file, "after": link }),
    ];
    let path = format!("/snapshots/diff?from=default%2Fbefore%3Adefault&to={bare}");
    let whole = world.get(&path).await.expect(200);
    assert_eq!((whole.json(), whole.headers.get("x-next-token")), (json!(wanted), None));
    assert_eq!(world.node.compared()[0].limit, 1000);
    let mut token = String::new();
    for part in &wanted {
        let page = world.get(&format!("{path}&limit=1&nextToken={token}")).await.expect(200);
        assert_eq!(page.json(), json!([part]));
        token = page.headers.get("x-next-token").map_or_else(String::new, |t| t.to_str().unwrap().to_owned());
    }
    assert_eq!(token, "", "the last page has no successor");
}

#[tokio::test]
async fn only_snapshots_of_ones_own_are_compared() {
    let world = with_memory().await;
    let id = world.create_base().await;
    let mine = take(&world, &id, "{}").await["snapshotID"].as_str().unwrap().to_owned();
    for (query, status) in [
        (format!("from={mine}&to=base"), 403),
        (format!("from=nothing&to={mine}"), 404),
        (format!("to={mine}"), 400),
        (format!("from={mine}&to="), 400),
        (format!("from={mine}&to=%2F%2F"), 400),
        (format!("from={mine}&to={mine}&limit=0"), 400),
        (format!("from={mine}&to={mine}&limit=1001"), 400),
        (format!("from={mine}&to={mine}&nextToken=bm8"), 400),
    ] {
        world.get(&format!("/snapshots/diff?{query}")).await.error(status);
    }
    assert!(world.node.compared().is_empty(), "nothing was read for those");
    let theirs = http::Request::get(format!("/snapshots/diff?from={mine}&to={mine}"));
    let theirs = theirs.header("x-api-key", key_of_another_team(&world).await);
    world.send(theirs.body(String::new().into()).unwrap()).await.error(404);
    assert!(world.node.compared().is_empty(), "nor for strangers");
}

async fn key_of_another_team(world: &World) -> String {
    let ask = async |uri: &str, body: &str| {
        let request = http::Request::post(uri).header("x-admin-token", "the operator");
        world.send(request.body(body.to_owned().into()).unwrap()).await.expect(201).json()
    };
    let team = ask("/admin/teams", r#"{"name":"others"}"#).await["teamID"].as_str().unwrap().to_owned();
    let key = ask(&format!("/admin/teams/{team}/api-keys"), r#"{"name":"theirs"}"#).await;
    key["key"].as_str().unwrap().to_owned()
}

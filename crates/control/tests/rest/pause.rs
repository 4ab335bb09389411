//! Pause, resume by every way, and what a sleeper shows.

use std::time::Duration;

use model::{AtTimeout, Policy, SandboxId};
use node::Phase;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warren_control::{FullPause, Knock, Woken};

use crate::world::{World, masked};

const FILES: &str = r#"{"memory":false}"#;

async fn detail(world: &World, id: &SandboxId) -> Value {
    world.get(&format!("/sandboxes/{id}")).await.expect(200).json()
}

async fn pause(world: &World, id: &SandboxId) {
    world.post(&format!("/sandboxes/{id}/pause"), FILES).await.expect(204);
}

#[tokio::test]
async fn a_sleeper_is_shown_listed_refused_and_woken() {
    let world = World::new().await;
    let (id, other) = (world.create_base().await, world.create_base().await);
    let token = detail(&world, &id).await["envdAccessToken"].clone();
    world.pass(Duration::from_secs(7));
    pause(&world, &id).await;
    let seen = detail(&world, &id).await;
    assert_eq!((&seen["state"], &seen["pauseMode"]), (&json!("paused"), &json!("filesystem")));
    assert_eq!((&seen["envdAccessToken"], &seen["domain"]), (&token, &Value::Null));
    assert_eq!(seen["endAt"], "2026-11-21T10:00:07.000000Z", "the moment of the pause");
    for (query, count) in [("state=paused", 1), ("state=running", 1), ("", 2)] {
        let listed = world.get(&format!("/v2/sandboxes?{query}")).await.expect(200).json();
        assert_eq!(listed.as_array().unwrap().len(), count, "{query}");
    }
    let running = world.get("/sandboxes").await.expect(200).json();
    assert_eq!(running[0]["sandboxID"], other.as_str());
    assert_eq!(running.as_array().unwrap().len(), 1);

    let again = world.post(&format!("/sandboxes/{id}/pause"), FILES).await.error(409);
    insta::assert_json_snapshot!(masked(again, &id), @r#"
    {
      "code": 409,
      "message": "Error pausing sandbox - sandbox '<id>' is already paused"
    }
    "#);
    world.post(&format!("/sandboxes/{id}/timeout"), r#"{"timeout":5}"#).await.error(404);
    world.post(&format!("/sandboxes/{id}/refreshes"), "").await.error(404);

    world.pass(Duration::from_secs(3));
    let woken = world.post(&format!("/v2/sandboxes/{id}/connect"), r#"{"timeout":60}"#).await.expect(201);
    assert_eq!(woken.json()["envdAccessToken"], token);
    let seen = detail(&world, &id).await;
    assert_eq!((&seen["state"], &seen["pauseMode"]), (&json!("running"), &Value::Null));
    assert_eq!(seen["startedAt"], "2026-11-21T10:00:10.000000Z");
    assert_eq!(seen["endAt"], "2026-11-21T10:01:10.000000Z");
    world.post(&format!("/v2/sandboxes/{id}/connect"), "").await.expect(200);
    let running = world.post(&format!("/sandboxes/{id}/resume"), "").await.error(409);
    assert_eq!(running["message"], format!("Sandbox {id} is already running"));
}

#[tokio::test]
async fn a_connect_wakes_what_falls_asleep_under_it() {
    let world = World::new().await;
    let id = world.create_base().await;
    world.node.doze(&id);
    world.post(&format!("/v2/sandboxes/{id}/connect"), r#"{"timeout":600}"#).await.expect(201);
    assert_eq!(detail(&world, &id).await["state"], "running");
    world.node.doze(&id);
    world.post(&format!("/sandboxes/{id}/timeout"), r#"{"timeout":600}"#).await.error(404);
}

#[tokio::test]
async fn who_joins_the_others_wake_gets_the_time_that_it_asked_for() {
    let world = World::new().await;
    let id = world.create_base().await;
    world.node.set_phase(&id, Phase::Resuming);
    let connect = format!("/v2/sandboxes/{id}/connect");
    // The other's wake gives it five minutes at most.
    world.post(&connect, r#"{"timeout":600}"#).await.expect(201);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:10:00.000000Z");
    world.node.set_phase(&id, Phase::Resuming);
    world.post(&connect, r#"{"timeout":60}"#).await.expect(201);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:10:00.000000Z", "never less");
}

#[tokio::test]
async fn both_other_ways_wake_and_a_kill_ends_a_sleeper() {
    let world = World::new().await;
    let id = world.create_base().await;
    pause(&world, &id).await;
    world.post(&format!("/sandboxes/{id}/connect"), r#"{"timeout":30}"#).await.expect(201);
    pause(&world, &id).await;
    world.post(&format!("/sandboxes/{id}/resume"), "").await.expect(201);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:00:15.000000Z");
    pause(&world, &id).await;
    world.delete(&format!("/sandboxes/{id}")).await.expect(204);
    world.get(&format!("/sandboxes/{id}")).await.error(404);
    world.post(&format!("/sandboxes/{id}/pause"), FILES).await.error(404);
}

#[tokio::test]
async fn one_on_its_way_is_a_conflict_and_shows_as_paused() {
    let world = World::new().await;
    let id = world.create_base().await;
    for phase in [Phase::Pausing, Phase::Resuming] {
        world.node.set_phase(&id, phase);
        assert_eq!(detail(&world, &id).await["state"], "paused");
        world.post(&format!("/sandboxes/{id}/timeout"), r#"{"timeout":5}"#).await.error(409);
    }
    world.post(&format!("/sandboxes/{id}/pause"), FILES).await.error(409);
}

#[tokio::test]
async fn sleepers_take_no_place_in_the_limit_and_take_one_to_wake() {
    let world = World::with(|options| options.max_sandboxes = 1).await;
    let id = world.create_base().await;
    pause(&world, &id).await;
    let other = world.create_base().await;
    world.post(&format!("/v2/sandboxes/{id}/connect"), "").await.error(429);
    assert_eq!(detail(&world, &id).await["state"], "paused");
    world.delete(&format!("/sandboxes/{other}")).await.expect(204);
    world.post(&format!("/v2/sandboxes/{id}/connect"), "").await.expect(201);
}

#[tokio::test]
async fn one_that_went_to_sleep_by_itself_is_noted() {
    let world = World::with(|options| options.max_sandboxes = 1).await;
    let id = world.create_base().await;
    world.node.set_phase(&id, Phase::Paused);
    let stop = CancellationToken::new();
    let app = world.restarted();
    let reconciling = app.run(stop.clone());
    let creating = async {
        let create = async || world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await.status.as_u16();
        let made = async { while create().await != 201 {} };
        tokio::time::timeout(Duration::from_secs(10), made).await.expect("its place is free");
        stop.cancel();
    };
    tokio::join!(reconciling, creating);
    assert_eq!(detail(&world, &id).await["state"], "paused");
}

#[tokio::test]
async fn memory_is_promised_by_nobody() {
    let world = World::new().await;
    let id = world.create_base().await;
    for body in ["", "{}", r#"{"memory":true}"#] {
        let refused = world.post(&format!("/sandboxes/{id}/pause"), body).await.error(501);
        insta::allow_duplicates! { insta::assert_json_snapshot!(refused, @r#"
        {
          "code": 501,
          "message": "pausing with memory is not supported by this server: it cannot keep the memory of processes (a fake has none). Ask for files alone with memory: false (mode \"filesystem\" in the SDKs)"
        }
        "#); }
    }
    assert_eq!(detail(&world, &id).await["state"], "running");
    world.create(r#"{"templateID":"base","autoPause":true,"autoPauseMemory":false}"#).await;
    let policy = Policy { at_timeout: AtTimeout::PauseFiles, wakes_by_traffic: false };
    assert_eq!(world.node.last_order().policy, policy);

    let lenient = World::with(|options| options.full_pause = FullPause::Files).await;
    let id = lenient.create(r#"{"templateID":"base","autoPause":true}"#).await;
    lenient.post(&format!("/sandboxes/{id}/pause"), "").await.expect(204);
    let seen = detail(&lenient, &id).await;
    assert_eq!(seen["lifecycle"], json!({"autoResume": false, "onTimeout": "pause"}));
    assert_eq!(seen["pauseMode"], "filesystem", "it says what it kept");
}

#[tokio::test]
async fn traffic_wakes_only_those_that_want_it_and_only_with_the_token() {
    let world = World::with(|options| options.full_pause = FullPause::Files).await;
    let deaf = world.create(r#"{"templateID":"base","timeout":3}"#).await;
    let light = r#"{"templateID":"base","timeout":3,"autoPause":true,"autoResume":{"enabled":true}}"#;
    let light = world.create(light).await;
    let token = detail(&world, &light).await["envdAccessToken"].as_str().unwrap().to_owned();
    for id in [&deaf, &light] {
        pause(&world, id).await;
    }
    let app = world.restarted();
    let knock = async |id: &SandboxId, for_daemon, access_token| {
        app.knock(Knock { sandbox_id: id, for_daemon, access_token }).await
    };
    assert_eq!(knock(&deaf, false, None).await, Woken::No);
    assert_eq!(knock(&light, true, None).await, Woken::Denied);
    assert_eq!(knock(&light, true, Some("wrong")).await, Woken::Denied);
    assert_eq!(detail(&world, &light).await["state"], "paused");
    assert_eq!(knock(&light, true, Some(&token)).await, Woken::Up);
    assert_eq!(detail(&world, &light).await["endAt"], "2026-11-21T10:05:00.000000Z", "five minutes at least");
    pause(&world, &light).await;
    assert_eq!(knock(&light, false, None).await, Woken::Up, "a port asks for nothing");
}

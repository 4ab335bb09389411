//! Kill, timeout, refreshes, connect.

use std::time::Duration;

use model::{EndCause, SandboxId};
use serde_json::Value;

use crate::world::{World, masked};

async fn detail(world: &World, id: &SandboxId) -> Value {
    world.get(&format!("/sandboxes/{id}")).await.expect(200).json()
}

#[tokio::test]
async fn a_kill_is_done_when_it_is_answered() {
    let world = World::new().await;
    let id = world.create_base().await;
    let answer = world.delete(&format!("/sandboxes/{id}-6532622b")).await.expect(204);
    assert_eq!(answer.text, "");
    assert!(world.node.ids().is_empty());
    let again = world.delete(&format!("/sandboxes/{id}")).await.error(404);
    insta::assert_json_snapshot!(masked(again, &id), @r#"
    {
      "code": 404,
      "message": "Sandbox \"<id>\" doesn't exist or you don't have access to it. It ended at 2026-11-21T10:00:00.000000Z: it was killed by a request."
    }
    "#);
}

#[tokio::test]
async fn a_kill_joins_one_that_is_under_way() {
    let world = World::new().await;
    let id = world.create_base().await;
    world.node.set_phase(&id, node::Phase::Ending);
    let path = format!("/sandboxes/{id}");
    let ending = async {
        world.node.asked_to_kill().await;
        world.node.end(&id, Some(EndCause::Timeout));
    };
    let (answer, ()) = tokio::join!(world.delete(&path), ending);
    answer.expect(204);
}

#[tokio::test]
async fn a_kill_that_takes_too_long_is_told_and_stays_wanted() {
    let world = World::with(|options| options.kill_limit = Duration::from_millis(20)).await;
    let id = world.create_base().await;
    world.node.set_phase(&id, node::Phase::Ending);
    let answer = world.delete(&format!("/sandboxes/{id}")).await.error(504);
    insta::assert_json_snapshot!(masked(answer, &id), @r#"
    {
      "code": 504,
      "message": "Sandbox \"<id>\" is being killed, which takes longer than usual"
    }
    "#);
    world.get(&format!("/sandboxes/{id}")).await.error(404);
}

#[tokio::test]
async fn one_that_has_ended_says_when_and_why() {
    let world = World::new().await;
    let id = world.create_base().await;
    world.pass(Duration::from_mins(6));
    let answer = world.get(&format!("/sandboxes/{id}")).await.error(404);
    insta::assert_json_snapshot!(masked(answer, &id), @r#"
    {
      "code": 404,
      "message": "Sandbox \"<id>\" doesn't exist or you don't have access to it. It ended at 2026-11-21T10:06:00.000000Z: it reached its timeout; create with a longer timeout or extend it with set_timeout."
    }
    "#);
    world.delete(&format!("/sandboxes/{id}")).await.error(404);
}

#[tokio::test]
async fn a_timeout_shortens_and_extends_but_not_beyond_the_longest_life() {
    let world = World::with(|options| options.max_lifetime = Duration::from_hours(1)).await;
    let id = world.create_base().await;
    let set = async |seconds: i64| {
        world.post(&format!("/sandboxes/{id}/timeout"), &format!(r#"{{"timeout":{seconds}}}"#)).await
    };
    set(5).await.expect(204);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:00:05.000000Z");
    set(600).await.expect(204);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:10:00.000000Z");
    world.pass(Duration::from_mins(5));
    set(1_000_000).await.expect(204);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T11:00:00.000000Z");
    set(-3).await.expect(204);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:05:00.000000Z");
    world.pass(Duration::ZERO);
    set(5).await.error(404);
    insta::assert_json_snapshot!(world.post(&format!("/sandboxes/{id}/timeout"), "{}").await.error(400), @r#"
    {
      "code": 400,
      "message": "Error when parsing request: missing field `timeout` at line 1 column 2"
    }
    "#);
}

#[tokio::test]
async fn a_refresh_never_shortens() {
    let world = World::new().await;
    let id = world.create(r#"{"templateID":"base","timeout":10}"#).await;
    let path = format!("/sandboxes/{id}/refreshes");
    world.post(&path, "").await.expect(204);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:00:15.000000Z");
    world.post(&path, r#"{"duration":60}"#).await.expect(204);
    world.post(&path, r#"{"duration":1}"#).await.expect(204);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:01:00.000000Z");
    world.post(&path, r#"{"duration":3601}"#).await.error(400);
}

#[tokio::test]
async fn connect_extends_only_and_hands_the_token_out_again() {
    let world = World::new().await;
    let created = world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await.json();
    let id: SandboxId = created["sandboxID"].as_str().unwrap().parse().unwrap();
    let v2 = format!("/v2/sandboxes/{id}/connect");
    assert_eq!(world.post(&v2, r#"{"timeout":10}"#).await.expect(200).json(), created);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:05:00.000000Z");
    world.pass(Duration::from_mins(1));
    world.post(&v2, "").await.expect(200);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:06:00.000000Z");
    world.post(&v2, r#"{"timeout":100000}"#).await.error(400);

    let v1 = format!("/sandboxes/{id}/connect");
    insta::assert_json_snapshot!(world.post(&v1, "{}").await.error(400), @r#"
    {
      "code": 400,
      "message": "validation error: timeout must be given and at least 0"
    }
    "#);
    world.post(&v1, r#"{"timeout":900}"#).await.expect(200);
    assert_eq!(detail(&world, &id).await["endAt"], "2026-11-21T10:16:00.000000Z");
}

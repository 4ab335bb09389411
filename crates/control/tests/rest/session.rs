//! The session API's lives: one sandbox per session, limits, restarts. What is
//! done inside is tested against real sandboxes.

use std::sync::Arc;
use std::time::Duration;

use model::SessionLimits;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{World, masked};

const ANNA: &str = "/api/v1/session/anna/sandbox";

async fn world() -> World {
    World::with(|options| {
        options.session.template = "base".parse().ok();
        options.session.limits = SessionLimits {
            execution: Duration::from_secs(5),
            idle: Duration::from_mins(30),
            life: Duration::from_hours(1),
        };
    })
    .await
}

async fn start(world: &World) -> Value {
    world.post(&format!("{ANNA}/start"), "").await.expect(200).json()
}

async fn status(world: &World) -> Value {
    world.get(&format!("{ANNA}/status")).await.expect(200).json()
}

/// The end of a call is noted behind its answer.
async fn until_noted(world: &World, deadline: Duration) {
    let (id, node) = (world.node.ids().pop().unwrap(), Arc::clone(&world.node));
    let wanted = world.now() + deadline;
    while warren_control::NodePort::get(&*node, &id).unwrap().deadline != wanted {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_session_has_one_sandbox_until_it_is_stopped() {
    let world = world().await;
    assert_eq!(status(&world).await, Value::Null);
    let info = start(&world).await;
    let id = info["sandbox_id"].as_str().unwrap().parse().unwrap();
    insta::assert_json_snapshot!(masked(info.clone(), &id), @r#"
    {
      "created_at": "2026-11-21T10:00:00.000000+00:00",
      "last_activity": "2026-11-21T10:00:00.000000+00:00",
      "sandbox_id": "<id>",
      "sandbox_type": "code_interpreter",
      "session_id": "anna",
      "status": "running"
    }
    "#);
    assert_eq!(start(&world).await, info);
    assert_eq!(status(&world).await, info);
    let order = world.node.last_order();
    assert!(order.access_token.is_some(), "nobody else gets in");
    let listed = world.get("/v2/sandboxes").await.expect(200).json();
    assert_eq!(listed[0]["metadata"], json!({"session_id": "anna"}));

    world.post(&format!("{ANNA}/stop"), "").await.expect(204);
    assert!(world.node.ids().is_empty());
    assert_eq!(status(&world).await, Value::Null);
    world.post(&format!("{ANNA}/stop"), "").await.expect(204);
    assert_ne!(start(&world).await["sandbox_id"], info["sandbox_id"]);
}

#[tokio::test]
async fn racing_first_calls_get_one_sandbox() {
    let world = world().await;
    let calls = (0..20).map(|_| start(&world));
    let infos = futures_util::future::join_all(calls).await;
    assert!(infos.iter().all(|info| info["sandbox_id"] == infos[0]["sandbox_id"]));
    assert_eq!(world.node.ids().len(), 1);
}

#[tokio::test]
async fn a_start_under_way_is_shown_and_a_failed_one_leaves_nothing() {
    let world = World::with(|options| {
        options.session.template = "base".parse().ok();
        options.create_limit = Duration::from_millis(200);
    })
    .await;
    world.node.hang_creates();
    let starting = async { world.post(&format!("{ANNA}/start"), "").await.expect(504).json() };
    let shown = async {
        loop {
            let shown = status(&world).await;
            if shown != Value::Null {
                break shown;
            }
            tokio::task::yield_now().await;
        }
    };
    let (failed, shown) = tokio::join!(starting, shown);
    assert_eq!(shown["status"], "starting");
    assert!(failed["detail"].is_string(), "{failed}");
    assert_eq!(status(&world).await, Value::Null);
    assert!(world.node.ids().is_empty());
}

#[tokio::test]
async fn calls_keep_a_sandbox_alive_but_not_beyond_its_longest_life() {
    let world = world().await;
    let minutes = Duration::from_mins;
    let first = start(&world).await;
    until_noted(&world, minutes(30)).await;
    world.pass(minutes(29));
    assert_eq!(status(&world).await["sandbox_id"], first["sandbox_id"]);
    assert_eq!(start(&world).await["sandbox_id"], first["sandbox_id"]);
    until_noted(&world, minutes(30)).await;
    world.pass(minutes(29));
    start(&world).await;
    until_noted(&world, minutes(2)).await;
    world.pass(minutes(1));
    assert_eq!(start(&world).await["sandbox_id"], first["sandbox_id"]);
    world.pass(minutes(1));
    assert_eq!(status(&world).await, Value::Null, "an hour is over");
    assert_ne!(start(&world).await["sandbox_id"], first["sandbox_id"]);
}

#[tokio::test]
async fn asking_for_the_status_is_no_activity() {
    let world = world().await;
    start(&world).await;
    until_noted(&world, Duration::from_mins(30)).await;
    world.pass(Duration::from_mins(29));
    assert_ne!(status(&world).await, Value::Null);
    world.pass(Duration::from_mins(1));
    assert_eq!(status(&world).await, Value::Null);
}

#[tokio::test]
async fn sessions_survive_a_restart_of_the_server() {
    let world = world().await;
    let before = start(&world).await;
    let router = warren_control::router(world.restarted());
    let request = world.request("POST", &format!("{ANNA}/start"), "");
    let response = router.oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let after: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(after["sandbox_id"], before["sandbox_id"]);
    assert_eq!(after["created_at"], before["created_at"]);
}

#[tokio::test]
async fn what_is_wrong_is_told_in_the_detail() {
    let world = world().await;
    let detail = async |call: &str, body: &str, status: u16| {
        let answer = world.post(&format!("{ANNA}/{call}"), body).await.expect(status).json();
        assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
        answer["detail"].as_str().unwrap().to_owned()
    };
    insta::assert_snapshot!(detail("execute", r#"{"code":" "}"#, 400).await, @"code is empty");
    insta::assert_snapshot!(detail("execute", "{}", 400).await, @"Error when parsing request: missing field `code` at line 1 column 2");
    insta::assert_snapshot!(detail("execute", r#"{"code":5}"#, 400).await, @"Error when parsing request: code: invalid type: integer `5`, expected a string at line 1 column 9");
    insta::assert_snapshot!(detail("install", r#"{"packages":["-r"]}"#, 400).await, @r#"packages: "-r" is an option, not a package"#);
    insta::assert_snapshot!(detail("start", r#"{"sandbox_type":"custom"}"#, 400).await, @"sandbox_type custom: no template is configured for it (session.custom_template)");
    insta::assert_snapshot!(detail("upload", "", 400).await, @"the body is not multipart/form-data with a part named file");
    insta::assert_snapshot!(detail("nope", "", 404).await, @"no such route: POST /api/v1/session/anna/sandbox/nope");
    let files = world.get(&format!("{ANNA}/files")).await.expect(404).json();
    insta::assert_snapshot!(files["detail"].as_str().unwrap(), @"session_id not found: anna");
    start(&world).await;
    insta::assert_snapshot!(detail("execute", r#"{"code":"1"}"#, 400).await, @"the sandbox has no code interpreter: its template needs one to execute code");
}

#[tokio::test]
async fn a_port_of_its_own_has_nothing_else() {
    let world = world().await;
    let router = warren_control::session_router(world.app.clone());
    for (path, status) in [("/health", 200), (&format!("{ANNA}/status")[..], 200), ("/v2/sandboxes", 404)] {
        let response = router.clone().oneshot(world.request("GET", path, "")).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn keys_are_demanded_by_the_common_switch() {
    for (require_keys, status) in [(true, 401), (false, 200)] {
        let world = World::with(|options| options.require_keys = require_keys).await;
        let request = http::Request::builder().uri(format!("{ANNA}/status"));
        let answer = world.send(request.body(axum::body::Body::empty()).unwrap()).await.expect(status).json();
        assert_eq!(answer["detail"].is_string(), require_keys, "{answer}");
    }
}

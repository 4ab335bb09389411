//! Everything that goes wrong has the protocol's shape and says what to do.

use std::time::Duration;

use http::Request;
use serde_json::Value;

use crate::world::{World, masked};

#[tokio::test]
async fn keys() {
    let world = World::new().await;
    let with = |key: Option<&str>| {
        let request = Request::builder().uri("/v2/sandboxes");
        let request = if let Some(key) = key { request.header("x-api-key", key) } else { request };
        world.send(request.body(axum::body::Body::empty()).unwrap())
    };
    insta::assert_json_snapshot!(with(None).await.error(401), @r#"
    {
      "code": 401,
      "message": "authorization header is missing: set the X-API-Key header (E2B_API_KEY)"
    }
    "#);
    insta::assert_json_snapshot!(with(Some("secret")).await.error(401), @r#"
    {
      "code": 401,
      "message": "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\nInvalid API key format"
    }
    "#);
    insta::assert_json_snapshot!(with(Some(&format!("e2b_{}", "0".repeat(40)))).await.error(401), @r#"
    {
      "code": 401,
      "message": "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\nCannot get the team for the given API key"
    }
    "#);
    with(Some(&world.key)).await.expect(200);
}

#[tokio::test]
async fn keys_are_optional_where_the_operator_says_so() {
    let world = World::with(|options| options.require_keys = false).await;
    for key in [None, Some("anything"), Some("e2b_00")] {
        let request = Request::builder().uri("/teams");
        let request = if let Some(key) = key { request.header("x-api-key", key) } else { request };
        let answer = world.send(request.body(axum::body::Body::empty()).unwrap()).await.expect(200).json();
        assert_eq!(answer[0]["isDefault"], true);
    }
}

#[tokio::test]
async fn bodies_that_are_no_create() {
    let world = World::new().await;
    let create = async |body: &str| world.post("/v2/sandboxes", body).await.error(400);
    insta::assert_json_snapshot!(create("").await, @r#"
    {
      "code": 400,
      "message": "Error when parsing request: EOF while parsing a value at line 1 column 0"
    }
    "#);
    insta::assert_json_snapshot!(create("{").await, @r#"
    {
      "code": 400,
      "message": "Error when parsing request: EOF while parsing an object at line 1 column 1"
    }
    "#);
    insta::assert_json_snapshot!(create("{}").await, @r#"
    {
      "code": 400,
      "message": "Error when parsing request: missing field `templateID` at line 1 column 2"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":7}"#).await, @r#"
    {
      "code": 400,
      "message": "Error when parsing request: templateID: invalid type: integer `7`, expected a string at line 1 column 15"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"base","timeout":"1"}"#).await, @r#"
    {
      "code": 400,
      "message": "Error when parsing request: timeout: invalid type: string \"1\", expected i64 at line 1 column 34"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"base","metadata":{"a":1}}"#).await, @r#"
    {
      "code": 400,
      "message": "Error when parsing request: metadata.a: invalid type: integer `1`, expected a string at line 1 column 38"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"base","mcp":"x"}"#).await, @r#"
    {
      "code": 400,
      "message": "Error when parsing request: mcp must be an object"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"["base"]"#).await, @r#"
    {
      "code": 400,
      "message": "Error when parsing request: expected an object, not a list"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"a b"}"#).await, @r#"
    {
      "code": 400,
      "message": "Invalid template reference: invalid template ID: a b"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"base","timeout":0}"#).await, @r#"
    {
      "code": 400,
      "message": "Timeout must be greater than 0"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"base","timeout":1000000}"#).await, @r#"
    {
      "code": 400,
      "message": "Timeout cannot be greater than 24 hours"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"base","autoPauseMemory":false}"#).await, @r#"
    {
      "code": 400,
      "message": "autoPauseMemory=false only applies when autoPause is true."
    }
    "#);
    assert!(world.node.ids().is_empty());
}

#[tokio::test]
async fn unknown_things() {
    let world = World::new().await;
    let create = async |body: &str| world.post("/v2/sandboxes", body).await.error(404);
    insta::assert_json_snapshot!(create(r#"{"templateID":"nope"}"#).await, @r#"
    {
      "code": 404,
      "message": "template 'nope' not found"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"other/base"}"#).await, @r#"
    {
      "code": 404,
      "message": "template 'other/base' not found"
    }
    "#);
    insta::assert_json_snapshot!(create(r#"{"templateID":"base:v9"}"#).await, @r#"
    {
      "code": 404,
      "message": "tag 'v9' does not exist for template 'base'"
    }
    "#);
    insta::assert_json_snapshot!(world.get("/sandboxes/inope").await.error(404), @r#"
    {
      "code": 404,
      "message": "Sandbox \"inope\" doesn't exist or you don't have access to it"
    }
    "#);
    // An old client's suffix is one.
    assert_eq!(world.get("/sandboxes/inope-a-b").await.error(400)["message"], "Invalid sandbox ID");
    insta::assert_json_snapshot!(world.get("/sandboxes/debug_sandbox_id").await.error(400), @r#"
    {
      "code": 400,
      "message": "Invalid sandbox ID"
    }
    "#);
    insta::assert_json_snapshot!(world.get("/nothing/here").await.error(404), @r#"
    {
      "code": 404,
      "message": "no such route: GET /nothing/here"
    }
    "#);
    insta::assert_json_snapshot!(world.send(world.request("PUT", "/sandboxes", "")).await.error(405), @r#"
    {
      "code": 405,
      "message": "/sandboxes does not know PUT"
    }
    "#);
    for (method, path) in [("DELETE", ""), ("POST", "/timeout"), ("POST", "/refreshes"), ("POST", "/connect")]
    {
        let request = world.request(method, &format!("/sandboxes/inope{path}"), r#"{"timeout":1}"#);
        assert_eq!(world.send(request).await.error(404)["code"], 404, "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_not_built_says_so_by_name() {
    let world = World::new().await;
    for (field, name) in [
        (r#""allow_internet_access":false"#, "allow_internet_access=false"),
        (r#""network":{"denyOut":["0.0.0.0/0"]}"#, "network.denyOut"),
        (r#""network":{"allowPublicTraffic":false}"#, "network.allowPublicTraffic"),
        (r#""network":{"somethingNew":true}"#, "network.somethingNew"),
        (r#""volumeMounts":[{"name":"v","path":"/v"}]"#, "volumeMounts"),
        (r#""iam":{"tokens":{"a":{}}}"#, "iam"),
        (r#""autoPause":true"#, "autoPause"),
        (r#""autoResume":{"enabled":true}"#, "autoResume"),
    ] {
        let body = format!(r#"{{"templateID":"base",{field}}}"#);
        let error = world.post("/v2/sandboxes", &body).await.error(501);
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(name), "{message}");
    }
    assert!(world.node.ids().is_empty());
    for (method, path) in [("PUT", "/sandboxes/i1/network"), ("GET", "/volumes"), ("GET", "/secrets/x")] {
        world.send(world.request(method, path, "")).await.error(501);
    }
    insta::assert_json_snapshot!(world.get("/volumes").await.error(501), @r#"
    {
      "code": 501,
      "message": "volumes are not supported by this server yet"
    }
    "#);
}

#[tokio::test]
async fn a_body_above_16_mib() {
    let world = World::new().await;
    let body = format!(r#"{{"templateID":"{}"}}"#, "a".repeat(17 << 20));
    insta::assert_json_snapshot!(world.post("/v2/sandboxes", &body).await.error(413), @r#"
    {
      "code": 413,
      "message": "the request's body is larger than 16 MiB"
    }
    "#);
}

#[tokio::test]
async fn a_failed_start_is_undone_and_explained() {
    let world = World::new().await;
    world.node.fail_create(node::Error::Start {
        sandbox_id: "i1".parse().unwrap(),
        step: "mounting the root",
        source: "no such device".into(),
    });
    let create = async || world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await;
    insta::assert_json_snapshot!(create().await.error(500), @r#"
    {
      "code": 500,
      "error_code": "sandbox_create_failed",
      "message": "Failed to start sandbox: starting sandbox i1: mounting the root: no such device"
    }
    "#);
    world.node.fail_create(no_room());
    let full = create().await;
    assert_eq!((full.header("should-retry"), full.header("retry-after")), (Some("true"), Some("1")));
    insta::assert_json_snapshot!(full.error(503), @r#"
    {
      "code": 503,
      "error_code": "sandbox_capacity_unavailable",
      "message": "Failed to place sandbox: no room for memory: 1 GiB wanted, 3 MiB free"
    }
    "#);
    world.node.fail_create(node::Error::ShuttingDown);
    insta::assert_json_snapshot!(create().await.error(503), @r#"
    {
      "code": 503,
      "message": "Failed to place sandbox: the node is shutting down"
    }
    "#);
    assert_eq!(world.get("/v2/sandboxes").await.expect(200).json(), Value::Array(vec![]));
}

/// Row: R2.
#[tokio::test]
async fn a_start_that_takes_too_long_is_undone_and_not_to_be_retried() {
    let world = World::with(|options| options.create_limit = Duration::from_millis(20)).await;
    world.node.hang_creates();
    let answer = world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await;
    assert_eq!(answer.header("should-retry"), Some("false"));
    insta::assert_json_snapshot!(answer.error(504), @r#"
    {
      "code": 504,
      "error_code": "sandbox_placement_timeout",
      "message": "Failed to place sandbox: it was not usable within 0 s and was removed"
    }
    "#);
    assert!(world.node.ids().is_empty());
}

fn no_room() -> node::Error {
    node::Error::Exhausted { what: "memory", wanted: "1 GiB".into(), free: "3 MiB".into() }
}

#[tokio::test]
async fn the_limit_of_a_team_counts_what_starts_and_runs() {
    let world = World::with(|options| options.max_sandboxes = 2).await;
    let first = world.create_base().await;
    world.create_base().await;
    let answer = world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await;
    assert_eq!((answer.header("should-retry"), answer.header("retry-after")), (Some("false"), None));
    insta::assert_json_snapshot!(answer.error(429), @r#"
    {
      "code": 429,
      "message": "you have reached the maximum number of concurrent E2B sandboxes (2). Kill one that is not needed, or ask the operator of this server for a higher limit."
    }
    "#);
    // A node that has no room either says so at once; the team's limit is the answer.
    world.node.fail_create(no_room());
    world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await.error(429);
    assert_eq!(world.node.ids().len(), 2);
    world.delete(&format!("/sandboxes/{first}")).await.expect(204);
    world.create_base().await;
}

#[tokio::test]
async fn one_that_is_being_killed_is_unknown_to_readers_and_a_conflict_to_writers() {
    let world = World::new().await;
    let id = world.create_base().await;
    world.node.set_phase(&id, node::Phase::Ending);
    world.get(&format!("/sandboxes/{id}")).await.error(404);
    let answer = world.post(&format!("/sandboxes/{id}/timeout"), r#"{"timeout":9}"#).await.error(409);
    insta::assert_json_snapshot!(masked(answer, &id), @r#"
    {
      "code": 409,
      "message": "Sandbox \"<id>\" is being killed"
    }
    "#);
}

#[tokio::test]
async fn browsers_may_ask_first_and_read_the_cursor() {
    let world = World::new().await;
    let request = Request::builder().method("OPTIONS").uri("/v2/sandboxes");
    let answer = world.send(request.body(axum::body::Body::empty()).unwrap()).await.expect(204);
    assert!(answer.header("access-control-allow-headers").unwrap().contains("X-API-Key"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("X-Next-Token"));
    assert_eq!(world.get("/health").await.expect(200).text, "Health check successful");
}

#[tokio::test]
async fn what_is_kept_with_a_sandbox_and_what_its_processes_get_is_bounded() {
    let world = World::new().await;
    let create = async |field: &str, pairs: serde_json::Value| {
        let body = serde_json::json!({ "templateID": "base", field: pairs }).to_string();
        world.post("/v2/sandboxes", &body).await
    };
    let text = |size: usize| "x".repeat(size);
    create("metadata", serde_json::json!({ "k": text((64 << 10) - 1) })).await.expect(201);
    let refused = create("metadata", serde_json::json!({ "k": text(64 << 10) })).await.error(400);
    assert_eq!(refused["message"], "metadata has 65537 bytes; at most 64 KiB are kept");

    // As the kernel counts: the name, `=`, and a NUL at the end.
    create("envVars", serde_json::json!({ "A": text((128 << 10) - 3) })).await.expect(201);
    let refused = create("envVars", serde_json::json!({ "A": text((128 << 10) - 2) })).await.error(400);
    assert_eq!(refused["message"], "envVars: \"A\" has 131073 bytes; a process takes 128 KiB of each");
    let many: serde_json::Map<String, serde_json::Value> =
        (0..9).map(|n| (format!("A{n}"), text(120 << 10).into())).collect();
    let refused = create("envVars", many.into()).await.error(400)["message"].to_string();
    assert!(refused.contains("at most 1024 KiB are taken"), "{refused}");
    for pairs in [serde_json::json!({ "A": "x\0y" }), serde_json::json!({ "A\0": "x" })] {
        let refused = create("envVars", pairs).await.error(400)["message"].to_string();
        assert!(refused.contains("contains a NUL"), "{refused}");
    }
    assert_eq!(world.node.created(), 2);
}

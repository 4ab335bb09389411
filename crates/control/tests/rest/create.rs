//! Creating, and what the answers say.

use std::time::Duration;

use serde_json::json;

use crate::world::{World, masked};

#[tokio::test]
async fn v2_lives_300_s_and_is_always_secured() {
    let world = World::new().await;
    let answer =
        world.post("/v2/sandboxes", r#"{"templateID":"base","unknown":[1]}"#).await.expect(201).json();
    let id = answer["sandboxID"].as_str().unwrap().parse().unwrap();
    insta::assert_json_snapshot!(masked(answer.clone(), &id), @r#"
    {
      "alias": "base",
      "clientID": "6532622b",
      "envdAccessToken": "<token>",
      "envdVersion": "0.6.4",
      "isolation": "sim",
      "sandboxID": "<id>",
      "templateID": "basetemplate00000001"
    }
    "#);
    let order = world.node.last_order();
    assert_eq!(order.timeout, Duration::from_mins(5));
    assert_eq!(order.access_token.as_deref(), answer["envdAccessToken"].as_str());
}

#[tokio::test]
async fn v1_lives_15_s_and_is_secured_on_request() {
    let world = World::new().await;
    let answer = world.post("/sandboxes", r#"{"templateID":"base"}"#).await.expect(201).json();
    assert!(answer.get("envdAccessToken").is_none());
    assert_eq!(world.node.last_order().timeout, Duration::from_secs(15));
    assert_eq!(world.node.last_order().access_token, None);

    let cli =
        r#"{"templateID":"base","secure":true,"allow_internet_access":true,"timeout":300,"autoPause":false}"#;
    let answer = world.post("/sandboxes", cli).await.expect(201).json();
    assert!(answer["envdAccessToken"].is_string());
    assert_eq!(world.node.last_order().timeout, Duration::from_mins(5));
}

#[tokio::test]
async fn the_detail_echoes_what_was_asked() {
    let world = World::with(|options| options.domain = Some("sbx.example".to_owned())).await;
    let id = world
        .create(
            r#"{"templateID":"base","timeout":60,"metadata":{"a":"b c&d"},"envVars":{"K":"v"},"mcp":null,
                "network":{"allowPublicTraffic":true},"allow_internet_access":true,"volumeMounts":[]}"#,
        )
        .await;
    let detail = world.get(&format!("/sandboxes/{id}")).await.expect(200).json();
    insta::assert_json_snapshot!(masked(detail, &id), @r#"
    {
      "alias": "base",
      "allowInternetAccess": true,
      "clientID": "6532622b",
      "cpuCount": 2,
      "diskSizeMB": 10240,
      "domain": "sbx.example",
      "endAt": "2026-11-21T10:01:00.000000Z",
      "envdAccessToken": "<token>",
      "envdVersion": "0.6.4",
      "isolation": "sim",
      "lifecycle": {
        "autoResume": false,
        "onTimeout": "kill"
      },
      "memoryMB": 1024,
      "metadata": {
        "a": "b c&d"
      },
      "network": {
        "allowPublicTraffic": true
      },
      "sandboxID": "<id>",
      "startedAt": "2026-11-21T10:00:00.000000Z",
      "state": "running",
      "templateID": "basetemplate00000001"
    }
    "#);
    assert_eq!(world.node.last_order().env_vars["K"], "v");
}

#[tokio::test]
async fn every_form_of_a_template_name_leads_there() {
    let world = World::new().await;
    for name in [
        "base",
        " Base ",
        "base:default",
        crate::world::BASE_ID,
        "base-template-000-0000-0000-000000000001",
        "base:00000000-0000-0000-0000-000000000001",
    ] {
        let answer = world.post("/v2/sandboxes", &json!({"templateID": name}).to_string()).await;
        assert_eq!(answer.expect(201).json()["templateID"], crate::world::BASE_ID, "{name}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_leaves_no_half_sandbox() {
    let world = World::with(|options| options.create_limit = Duration::from_millis(50)).await;
    world.node.hang_creates();
    let request = world.request("POST", "/v2/sandboxes", r#"{"templateID":"base"}"#);
    tokio::select! {
        biased;
        answer = world.send(request) => panic!("it hangs: {}", answer.text),
        () = world.node.asked_to_create() => {}
    }
    let mut changes = warren_control::NodePort::observe(&*world.node);
    while !world.node.ids().is_empty() {
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_makes_one_sandbox_and_a_failure_gives_it_back() {
    let world = World::new().await;
    let create = async |key: &str, body: &str| {
        let mut request = world.request("POST", "/v2/sandboxes", body.to_owned());
        request.headers_mut().insert("Idempotency-Key", key.parse().unwrap());
        world.send(request).await
    };
    let base = r#"{"templateID":"base"}"#;
    world.node.fail_create(node::Error::ShuttingDown);
    create("k-1", base).await.error(503);
    let first = create("k-1", base).await.expect(201).json();
    assert_eq!(create("k-1", r#"{ "templateID" : "base" }"#).await.expect(201).json(), first);
    assert_eq!(world.node.ids().len(), 1);
    insta::assert_json_snapshot!(create("k-1", r#"{"templateID":"base","timeout":9}"#).await.error(422), @r#"
    {
      "code": 422,
      "error_code": "idempotency_request_mismatch",
      "message": "the idempotency key 'k-1' was used with another request"
    }
    "#);
    insta::assert_json_snapshot!(create("K 1", base).await.error(400), @r#"
    {
      "code": 400,
      "message": "Idempotency-Key must be 1 to 255 characters of a-z, 0-9 and -"
    }
    "#);
    assert_ne!(create("k-2", base).await.expect(201).json()["sandboxID"], first["sandboxID"]);
    world.delete(&format!("/sandboxes/{}", first["sandboxID"].as_str().unwrap())).await.expect(204);
    let ended = create("k-1", base).await.error(404)["message"].to_string();
    assert!(ended.contains("it was killed by a request"), "{ended}");
}

#[tokio::test]
async fn the_same_key_at_the_same_time_makes_one_sandbox() {
    let world = World::with(|options| options.create_limit = Duration::from_millis(100)).await;
    world.node.hang_creates();
    let create = async || {
        let mut request = world.request("POST", "/v2/sandboxes", r#"{"templateID":"base"}"#);
        request.headers_mut().insert("Idempotency-Key", "k".parse().unwrap());
        world.send(request).await
    };
    let (one, other) = tokio::join!(create(), create());
    let (late, early) = if one.status == 409 { (one, other) } else { (other, one) };
    insta::assert_json_snapshot!(late.error(409), @r#"
    {
      "code": 409,
      "error_code": "idempotency_in_progress",
      "message": "a request with the idempotency key 'k' is in progress"
    }
    "#);
    early.error(504);
}

//! What the operator sees: measurements and the node.

use http::Request;

use crate::world::{Answer, World};

async fn as_operator(world: &World, uri: &str) -> Answer {
    let request = Request::get(uri).header("X-Admin-Token", "the operator");
    world.send(request.body("".into()).unwrap()).await
}

async fn order(world: &World, uri: &str, body: &'static str) -> Answer {
    let request = Request::post(uri).header("X-Admin-Token", "the operator");
    world.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn a_drained_node_keeps_what_it_has_and_takes_nothing_new() {
    let mut world = World::new().await;
    let (runs, sleeps) = (world.create_base().await, world.create_base().await);
    world.post(&format!("/sandboxes/{sleeps}/pause"), r#"{"memory":false}"#).await.expect(204);
    let asked = world.ask(r#"{"name":"a"}"#).await;
    for _ in 0..2 {
        order(&world, "/nodes/local", r#"{"status":"draining"}"#).await.expect(204);
    }
    let node = as_operator(&world, "/nodes").await.expect(200).json();
    assert_eq!(node[0]["status"], "draining");

    // The operator's word holds over a restart.
    world.app = world.restarted();
    let build = format!("/v2/templates/{}/builds/{}", asked.template, asked.build);
    for (uri, body) in [
        ("/v2/sandboxes", r#"{"templateID":"base"}"#),
        ("/sandboxes", r#"{"templateID":"base"}"#),
        (&format!("/v2/sandboxes/{sleeps}/connect"), r#"{"timeout":60}"#),
        (&format!("/sandboxes/{sleeps}/resume"), r#"{"timeout":60}"#),
        (&build, r#"{"fromTemplate":"base","steps":[]}"#),
    ] {
        let refused = world.post(uri, body).await;
        assert_eq!(refused.header("should-retry"), Some("false"), "{uri}: {}", refused.text);
        let message = refused.error(503)["message"].as_str().unwrap().to_owned();
        assert!(message.contains("drained"), "{uri}: {message}");
    }
    world.post(&format!("/v2/sandboxes/{runs}/connect"), r#"{"timeout":60}"#).await.expect(200);
    world.get(&format!("/sandboxes/{sleeps}")).await.expect(200);
    world.get("/health").await.expect(200);
    world.delete(&format!("/sandboxes/{runs}")).await.expect(204);

    order(&world, "/nodes/local", r#"{"status":"ready"}"#).await.expect(204);
    assert_eq!(as_operator(&world, "/nodes/local").await.json()["status"], "ready");
    world.post(&format!("/v2/sandboxes/{sleeps}/connect"), r#"{"timeout":60}"#).await.expect(201);
    world.create_base().await;
}

#[tokio::test]
async fn a_drain_lets_the_children_live_that_a_fork_has_begun_and_refuses_the_others() {
    let world = World::new().await;
    world.node.give_memory();
    let id = world.create_base().await;
    world.node.hang_creates();
    let path = format!("/sandboxes/{id}/fork");
    let draining = async {
        while world.node.created() < 1 + 8 {
            tokio::task::yield_now().await;
        }
        order(&world, "/nodes/local", r#"{"status":"draining"}"#).await.expect(204);
        world.node.let_creates_go_on();
    };
    let (forks, ()) = tokio::join!(world.post(&path, r#"{"count":30}"#), draining);
    let forks = forks.expect(201).json();
    let (made, refused): (Vec<_>, Vec<_>) =
        forks.as_array().unwrap().iter().partition(|fork| fork["sandbox"].is_object());
    assert_eq!((made.len(), refused.len()), (8, 22), "{forks}");
    for fork in refused {
        let (code, message) = (&fork["error"]["code"], fork["error"]["message"].as_str().unwrap());
        assert!(*code == 503 && message.contains("drained"), "{fork}");
    }
    for fork in made {
        world
            .get(&format!("/sandboxes/{}", fork["sandbox"]["sandboxID"].as_str().unwrap()))
            .await
            .expect(200);
    }
    // From now on the source does not even stand still for one.
    let checkpoints = world.node.checkpoints();
    let text = world.post(&path, r#"{"count":1}"#).await.error(503)["message"].to_string();
    assert!(text.contains("drained"), "{text}");
    assert_eq!(world.node.checkpoints(), checkpoints);
}

#[tokio::test]
async fn a_node_is_set_by_its_operator_and_to_what_can_be_ordered() {
    let world = World::new().await;
    world.post("/nodes/local", r#"{"status":"draining"}"#).await.error(401);
    order(&world, "/nodes/other", r#"{"status":"draining"}"#).await.error(404);
    for body in [r#"{"status":"unhealthy"}"#, r#"{"status":""}"#, "{}"] {
        order(&world, "/nodes/local", body).await.error(400);
    }
    assert_eq!(as_operator(&world, "/nodes/local").await.json()["status"], "ready");
}

#[tokio::test]
async fn what_happened_is_measured() {
    let world = World::new().await;
    let id = world.create_base().await;
    world.create_base().await;
    world.delete(&format!("/sandboxes/{id}")).await.expect(204);
    world.post("/v2/sandboxes", r#"{"templateID":"unknown"}"#).await.error(404);
    world.get("/made/up/by/a/stranger").await.error(404);
    let answer = as_operator(&world, "/metrics").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "warren_sandboxes{state=\"running\"} 1",
        "warren_sandboxes{state=\"paused\"} 0",
        "warren_sandbox_creates_total{outcome=\"made\"} 2",
        "warren_sandbox_create_seconds_count 2",
        "warren_sandbox_kill_seconds_bucket{le=\"+Inf\"} 1",
        "warren_http_requests_total{method=\"POST\",route=\"/v2/sandboxes\",status=\"201\"} 2",
        "warren_http_requests_total{method=\"POST\",route=\"/v2/sandboxes\",status=\"404\"} 1",
        "warren_http_requests_total{method=\"DELETE\",route=\"/sandboxes/{sandbox_id}\",status=\"204\"} 1",
        "warren_http_requests_total{method=\"GET\",route=\"unknown\",status=\"404\"} 1",
        "warren_node_promised{resource=\"slots\"} 1",
        "warren_node_promise_limit{resource=\"memory_bytes\"} 34359738368",
        "warren_template_builds{state=\"waiting\"} 2",
    ] {
        assert!(answer.text.lines().any(|found| found == line), "{line}\n{}", answer.text);
    }
    assert!(answer.text.contains("warren_sandbox_ends_total{cause=\"killed"), "{}", answer.text);
}

#[tokio::test]
async fn measurements_are_for_the_operator_alone() {
    let world = World::new().await;
    world.get("/metrics").await.error(401);
    // As Prometheus sends it.
    let request = Request::get("/metrics").header("Authorization", "Bearer the operator");
    world.send(request.body("".into()).unwrap()).await.expect(200);
    let request = Request::get("/metrics").header("Authorization", "Bearer somebody");
    world.send(request.body("".into()).unwrap()).await.error(401);
}

#[tokio::test]
async fn the_node_shows_what_is_promised() {
    let world = World::new().await;
    world.create_base().await;
    let nodes = as_operator(&world, "/nodes").await.expect(200).json();
    assert_eq!(nodes.as_array().unwrap().len(), 1);
    let node = as_operator(&world, "/nodes/local").await.expect(200).json();
    assert_eq!((&node["sandboxCount"], &node["createSuccesses"]), (&1.into(), &1.into()));
    insta::assert_json_snapshot!(node["metrics"], @r#"
    {
      "allocatedCPU": 2,
      "allocatedMemoryBytes": 1073741824,
      "cpuCount": 4,
      "cpuPercent": 50,
      "disks": [
        {
          "device": "/dev/x",
          "filesystemType": "btrfs",
          "mountPoint": "/state",
          "totalBytes": 85899345920,
          "usedBytes": 10737418240
        }
      ],
      "memoryTotalBytes": 8589934592,
      "memoryUsedBytes": 2147483648
    }
    "#);
    as_operator(&world, "/nodes/other").await.error(404);
}

//! Lists: filters, order, pages, totals.

use std::time::Duration;

use model::SandboxId;

use crate::world::{Answer, World};

fn ids(answer: &Answer) -> Vec<String> {
    let items = answer.json();
    items.as_array().unwrap().iter().map(|item| item["sandboxID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn newest_first_with_everything_clients_demand() {
    let world = World::new().await;
    let old = world.create(r#"{"templateID":"base","metadata":{}}"#).await;
    world.pass(Duration::from_micros(1));
    let new = world.create_base().await;
    let answer = world.get("/v2/sandboxes").await.expect(200);
    assert_eq!(ids(&answer), [new.to_string(), old.to_string()]);
    assert_eq!((answer.header("x-total-running"), answer.header("x-next-token")), (Some("2"), None));
    insta::assert_json_snapshot!(crate::world::masked(answer.json()[1].clone(), &old), @r#"
    {
      "alias": "base",
      "clientID": "6532622b",
      "cpuCount": 2,
      "diskSizeMB": 10240,
      "endAt": "2026-11-21T10:05:00.000000Z",
      "envdVersion": "0.6.4",
      "isolation": "sim",
      "memoryMB": 1024,
      "metadata": {},
      "sandboxID": "<id>",
      "startedAt": "2026-11-21T10:00:00.000000Z",
      "state": "running",
      "templateID": "basetemplate00000001"
    }
    "#);
    assert_eq!(ids(&world.get("/sandboxes").await), [new.to_string(), old.to_string()]);
}

/// Its node knows before the row says so.
#[tokio::test]
async fn who_falls_asleep_is_listed_as_asleep_at_once() {
    let world = World::new().await;
    let (sleeper, runner) = (world.create_base().await, world.create_base().await);
    for phase in [node::Phase::Pausing, node::Phase::Paused] {
        world.node.set_phase(&sleeper, phase);
        assert_eq!(ids(&world.get("/v2/sandboxes?state=paused&limit=1").await), [sleeper.to_string()]);
        assert_eq!(ids(&world.get("/v2/sandboxes?state=running").await), [runner.to_string()]);
    }
}

#[tokio::test]
async fn filters() {
    let world = World::new().await;
    let id = world.create(r#"{"templateID":"base","metadata":{"a b":"c&d=é","x":"y"}}"#).await;
    world.pass(Duration::from_secs(1));
    let other = world.create_base().await;
    let both = vec![other.to_string(), id.to_string()];
    for (query, found) in [
        // As both SDKs write {"a b": "c&d=é"}.
        ("metadata=a%252520b%3Dc%252526d%25253D%2525C3%2525A9", vec![id.to_string()]),
        ("metadata=x%3Dz", vec![]),
        ("metadata=", both.clone()),
        ("state=paused", vec![]),
        ("state=running,paused", both.clone()),
        ("state=running%2Cpaused", both.clone()),
        ("order=asc", vec![id.to_string(), other.to_string()]),
        ("startedAfter=2026-11-21T10:00:01Z", vec![other.to_string()]),
        ("startedAfter=2026-11-21T12:00:01%2B02:00", vec![other.to_string()]),
        ("startedAfter=2026-11-21T10:00:01.000001Z", vec![]),
        ("template=base", both.clone()),
        ("template=unknown", vec![]),
    ] {
        let answer = world.get(&format!("/v2/sandboxes?{query}")).await.expect(200);
        assert_eq!(ids(&answer), found, "{query}");
    }
    assert_eq!(world.get("/v2/sandboxes?state=paused").await.header("x-total-running"), None);
}

#[tokio::test]
async fn refused_queries() {
    let world = World::new().await;
    for query in
        ["limit=0", "limit=101", "limit=x", "order=up", "state=dead", "startedAfter=now", "metadata=a"]
    {
        world.get(&format!("/v2/sandboxes?{query}")).await.error(400);
    }
    insta::assert_json_snapshot!(world.get("/v2/sandboxes?nextToken=x").await.error(400), @r#"
    {
      "code": 400,
      "message": "Invalid next token"
    }
    "#);
    insta::assert_json_snapshot!(world.get("/v2/sandboxes?metadata=a%253Db%3D%25zz").await.error(400), @r#"
    {
      "code": 400,
      "message": "Error parsing metadata"
    }
    "#);
    insta::assert_json_snapshot!(world.get("/v2/sandboxes?template=a:b").await.error(400), @r#"
    {
      "code": 400,
      "message": "Invalid template: a:b"
    }
    "#);
    insta::assert_json_snapshot!(world.get("/v2/sandboxes?limit=101").await.error(400), @r#"
    {
      "code": 400,
      "message": "validation error: limit must be 1 to 100"
    }
    "#);
}

#[tokio::test]
async fn a_walk_sees_each_survivor_once_while_others_come_and_go() {
    let world = World::new().await;
    let mut survivors = Vec::<SandboxId>::new();
    for n in 0..9 {
        survivors.push(world.create_base().await);
        // Some share their moment.
        world.pass(Duration::from_micros(n % 2));
    }
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    for round in 0.. {
        assert!(round < 20, "the walk does not end");
        let answer = world.get(&format!("/v2/sandboxes?{query}")).await.expect(200);
        seen.extend(ids(&answer));
        let Some(token) = answer.header("x-next-token") else { break };
        query = format!("limit=2&nextToken={token}");
        world.get(&format!("/v2/sandboxes?order=asc&nextToken={token}")).await.error(400);
        let passing = world.create_base().await;
        world.delete(&format!("/sandboxes/{passing}")).await.expect(204);
    }
    seen.sort();
    let mut survivors: Vec<String> = survivors.iter().map(ToString::to_string).collect();
    survivors.sort();
    assert_eq!(seen, survivors);
}

/// Five thousand sandboxes, of which some come and go between two pages: who was
/// there all along is shown exactly once, and nobody twice.
#[tokio::test]
async fn a_walk_over_thousands_that_come_and_go() {
    const MANY: usize = 5000;
    let world = World::with(|options| options.max_sandboxes = 10_000).await;
    let mut there = std::collections::VecDeque::new();
    for n in 0..MANY {
        there.push_back(world.create_base().await);
        // Ties among starts are common.
        if n % 3 == 0 {
            world.pass(Duration::from_micros(1));
        }
    }
    let mut seen = Vec::new();
    let mut uri = "/v2/sandboxes".to_owned();
    loop {
        let answer = world.get(&uri).await.expect(200);
        assert_eq!(answer.header("x-total-running"), Some(MANY.to_string().as_str()));
        seen.extend(ids(&answer));
        let Some(next) = answer.header("x-next-token") else { break };
        uri = format!("/v2/sandboxes?nextToken={next}");
        for n in 0..4 {
            // Some from the old end, which is not shown yet, and some that were shown.
            let id = if n < 2 { there.pop_front() } else { there.pop_back() }.unwrap();
            world.delete(&format!("/sandboxes/{id}")).await.expect(204);
            world.pass(Duration::from_micros(1));
            world.create_base().await;
        }
    }
    let distinct: std::collections::HashSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "nobody is shown twice");
    let missing = there.iter().filter(|id| !distinct.contains(&id.to_string())).count();
    assert_eq!(missing, 0, "of {} who were there all along", there.len());
}

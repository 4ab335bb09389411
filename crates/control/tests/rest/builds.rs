//! Template builds: asking, uploading, starting, following, and what names lead
//! to afterwards.

use http::Request;
use model::BuildId;
use node::build::{BuildFailure, BuildProgress, Instruction, Source};
use serde_json::Value;

use crate::reconcile::until;
use crate::world::World;

const HASH: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

pub(crate) struct Asked {
    pub(crate) template: String,
    pub(crate) build: String,
    pub(crate) body: Value,
}

impl World {
    pub(crate) async fn ask(&self, body: &str) -> Asked {
        let body = self.post("/v3/templates", body).await.expect(202).json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Asked { template: text("templateID"), build: text("buildID"), body }
    }

    async fn start_build(&self, asked: &Asked) {
        let body = r#"{"fromTemplate":"base","steps":[{"type":"RUN","args":["ls"],"force":false}]}"#;
        let answer =
            self.post(&format!("/v2/templates/{}/builds/{}", asked.template, asked.build), body).await;
        assert_eq!(answer.expect(202).text, "");
    }

    async fn status(&self, asked: &Asked, query: &str) -> Value {
        let uri = format!("/templates/{}/builds/{}/status{query}", asked.template, asked.build);
        self.get(&uri).await.expect(200).json()
    }

    async fn build(&self, body: &str) -> Asked {
        let asked = self.ask(body).await;
        self.start_build(&asked).await;
        self.node.builds.end(BuildProgress::Ready);
        assert_eq!(self.status(&asked, "").await["status"], "ready");
        asked
    }
}

#[tokio::test]
async fn a_build_waits_then_runs_then_is_ready_and_its_name_leads_to_it() {
    let world = World::new().await;
    let asked = world.ask(r#"{"name":"Mine:v1","tags":["stable"],"cpuCount":1,"memoryMB":512}"#).await;
    assert_eq!(asked.body["names"], serde_json::json!(["default/mine"]));
    assert_eq!(asked.body["aliases"], serde_json::json!(["mine"]));
    assert_eq!(asked.body["tags"], serde_json::json!(["v1", "stable"]));
    let waiting = world.status(&asked, "").await;
    assert_eq!((&waiting["status"], &waiting["logEntries"]), (&"waiting".into(), &serde_json::json!([])));

    world.start_build(&asked).await;
    let order = world.node.builds.last_order();
    assert_eq!((order.resources.cpu_count, order.resources.memory.as_mib()), (1, 512));
    assert!(matches!(&order.source, Source::Template { build_id, .. } if *build_id == BuildId::from_u128(1)));
    assert!(matches!(&order.steps[0].instruction, Instruction::Run { command, .. } if command == "ls"));
    assert_eq!(world.status(&asked, "").await["status"], "building");
    let uri = format!("/v2/templates/{}/builds/{}", asked.template, asked.build);
    let again = world.post(&uri, r#"{"fromTemplate":"base"}"#).await.error(400);
    assert_eq!(again["message"], "build is not in waiting state");
    world.post("/v2/sandboxes", r#"{"templateID":"mine:v1"}"#).await.error(404);

    world.node.builds.end(BuildProgress::Ready);
    let page = world.status(&asked, "?logsOffset=60").await;
    assert_eq!(page["status"], "ready");
    assert_eq!(page["logEntries"].as_array().unwrap().len(), 90);
    assert_eq!(page["logEntries"][0]["message"], "line 60");
    assert_eq!(world.status(&asked, "?logsOffset=150").await["logEntries"], serde_json::json!([]));
    assert_eq!(world.status(&asked, "?level=warn&limit=2").await["logEntries"][1]["message"], "line 10");

    for name in ["mine:v1", "default/mine:stable", &format!("mine:{}", asked.build)] {
        world.create(&format!(r#"{{"templateID":"{name}"}}"#)).await;
        assert_eq!(world.node.last_order().build_id.to_string(), asked.build, "{name}");
    }
    let none = world.post("/v2/sandboxes", r#"{"templateID":"mine"}"#).await.error(404);
    assert_eq!(none["message"], "tag 'default' does not exist for template 'mine'");
}

#[tokio::test]
async fn a_failed_build_says_where_and_changes_no_name() {
    let world = World::new().await;
    let good = world.build(r#"{"name":"mine"}"#).await;
    let bad = world.ask(r#"{"name":"mine"}"#).await;
    assert_eq!(good.template, bad.template, "a name keeps its template");
    world.start_build(&bad).await;
    let failure = BuildFailure { step: "1".to_owned(), message: "it broke".to_owned() };
    world.node.builds.end(BuildProgress::Failed(failure));
    let status = world.status(&bad, "?limit=30").await;
    assert_eq!((&status["status"], &status["reason"]["step"]), (&"error".into(), &"1".into()));
    assert_eq!(status["reason"]["message"], "it broke");
    assert_eq!(status["reason"]["logEntries"].as_array().unwrap().len(), 3);
    world.create(r#"{"templateID":"mine"}"#).await;
    assert_eq!(world.node.last_order().build_id.to_string(), good.build);
}

#[tokio::test]
async fn a_source_that_is_not_there_fails_the_build_and_not_its_start() {
    let world = World::new().await;
    let asked = world.ask(r#"{"name":"mine"}"#).await;
    let uri = format!("/v2/templates/{}/builds/{}", asked.template, asked.build);
    world.post(&uri, r#"{"fromTemplate":"base","fromImage":"debian"}"#).await.error(400);
    world.post(&uri, "{}").await.error(400);
    world.post(&uri, r#"{"fromTemplate":"none-such"}"#).await.expect(202);
    let Source::Refused(reason) = world.node.builds.last_order().source else { panic!("it is refused") };
    assert_eq!(reason, "template 'none-such' not found");
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let world = World::new().await;
    for body in ["{", "[]", r#"{"name":1}"#] {
        let message = world.post("/v3/templates", body).await.error(400)["message"].clone();
        assert!(message.as_str().unwrap().starts_with("Invalid request body: "), "{message}");
    }
    for body in [
        "{}",
        r#"{"name":"a b"}"#,
        r#"{"name":"other/x"}"#,
        r#"{"name":"x","tags":["a b"]}"#,
        r#"{"name":"x:00000000-0000-4000-8000-000000000000"}"#,
        r#"{"name":"x","cpuCount":3}"#,
        r#"{"name":"x","memoryMB":127}"#,
        r#"{"name":"x","memoryMB":1000000000}"#,
        r#"{"name":"x","minFreeDiskMb":1000000000}"#,
    ] {
        world.post("/v3/templates", body).await.error(400);
    }
    world.post("/v3/templates", r#"{"name":"basetemplate00000001"}"#).await.error(409);
    let asked = world.ask(r#"{"name":"mine"}"#).await;
    let unknown = BuildId::from_u128(77);
    let missing = world.get(&format!("/templates/{}/builds/{unknown}/status", asked.template)).await;
    assert_eq!(missing.error(400)["message"], format!("Build '{unknown}' not found"));
    let malformed = world.get(&format!("/templates/{}/builds/x/status", asked.template)).await;
    assert_eq!(malformed.error(400)["message"], "Invalid build id");
    world.post(&format!("/v2/templates/{}/builds/{unknown}", asked.template), "{}").await.error(404);
    let log = format!("/templates/{}/builds/{}/logs", asked.template, asked.build);
    world.get(&format!("{log}?source=elsewhere")).await.error(400);
    world.get(&format!("{log}?source=persistent")).await.expect(200);
    world.get(&format!("/templates/{}/files/xyz", asked.template)).await.error(400);
    world.get(&format!("/templates/nosuch/files/{HASH}")).await.error(404);
}

#[tokio::test]
async fn files_are_put_where_the_answer_says_and_nowhere_else() {
    let world = World::new().await;
    let asked = world.ask(r#"{"name":"mine"}"#).await;
    let uri = format!("/templates/{}/files/{HASH}", asked.template);
    let place = async || {
        let request = world.request("GET", &uri, "");
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("host", "tunnel.example:81".parse().unwrap());
        world.send(Request::from_parts(parts, body)).await.expect(201).json()
    };
    let answer = place().await;
    assert_eq!(answer["present"], false);
    let url = answer["url"].as_str().unwrap();
    let path = url.strip_prefix("http://tunnel.example:81").unwrap();
    // Without a key, and with nothing but a length.
    let put = async |path: &str, length: usize, body: Vec<u8>| {
        let request = Request::builder().method("PUT").uri(path).header("content-length", length);
        world.send(request.body(body.into()).unwrap()).await
    };
    let archive = vec![7; 20 << 20];
    put(path, archive.len(), archive.clone()).await.expect(200);
    put(path, archive.len() + 1, archive).await.error(400);
    assert_eq!(place().await["present"], true);
    assert!(place().await["url"].is_string(), "files that are there can be sent again");

    let other = path.replace(HASH, &"b".repeat(64));
    put(&other, 0, Vec::new()).await.error(403);
    put(&path.replace("token=", "token=0"), 0, Vec::new()).await.error(403);
    world.pass(std::time::Duration::from_mins(31));
    put(path, 0, Vec::new()).await.error(403);
}

#[tokio::test]
async fn a_newer_request_replaces_one_that_waits() {
    let world = World::new().await;
    let first = world.ask(r#"{"name":"mine"}"#).await;
    let other = world.ask(r#"{"name":"mine:other"}"#).await;
    world.ask(r#"{"name":"mine"}"#).await;
    let status = world.status(&first, "").await;
    assert_eq!(status["status"], "error");
    let text = "The build was canceled because it was superseded by a newer one.";
    assert_eq!(status["reason"]["message"], text);
    assert_eq!(world.status(&other, "").await["status"], "waiting");
}

#[tokio::test]
async fn no_build_is_under_way_for_ever() {
    let world = World::new().await;
    let (waiting, lost) = (world.ask(r#"{"name":"a"}"#).await, world.ask(r#"{"name":"b"}"#).await);
    world.start_build(&lost).await;
    world.node.builds.lose();
    world.pass(std::time::Duration::from_mins(41));
    until(&world.app, async || {
        let (waiting, lost) = (world.status(&waiting, "").await, world.status(&lost, "").await);
        waiting["status"] == "error" && lost["status"] == "error"
    })
    .await;
}

#[tokio::test]
async fn tags_lead_to_builds_until_they_are_taken_away() {
    let world = World::new().await;
    let (one, two) = (world.build(r#"{"name":"mine:v1"}"#).await, world.build(r#"{"name":"mine"}"#).await);
    let body = r#"{"target":"mine:v1","tags":["stable","prod"]}"#;
    let assigned = world.post("/templates/tags", body).await.expect(201).json();
    assert_eq!((&assigned["buildID"], &assigned["tags"][1]), (&one.build.clone().into(), &"prod".into()));
    let tags = world.get("/templates/default%2Fmine/tags").await.expect(200).json();
    let mut names: Vec<&str> = tags.as_array().unwrap().iter().map(|t| t["tag"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["default", "prod", "stable", "v1"]);
    world.create(r#"{"templateID":"mine:prod"}"#).await;
    assert_eq!(world.node.last_order().build_id.to_string(), one.build);

    let remove = |body: &str| world.send(world.request("DELETE", "/templates/tags", body.to_owned()));
    remove(r#"{"name":"mine","tags":["prod"]}"#).await.expect(204);
    world.post("/v2/sandboxes", r#"{"templateID":"mine:prod"}"#).await.error(404);
    remove(r#"{"name":"mine","tags":["default"]}"#).await.error(400);
    remove(r#"{"name":"mine:v1","tags":["stable"]}"#).await.error(400);
    remove(r#"{"name":"base","tags":["stable"]}"#).await.error(403);
    world.post("/templates/tags", r#"{"target":"nope","tags":["x"]}"#).await.error(404);
    world.post("/templates/tags", r#"{"target":"mine","tags":[]}"#).await.error(400);
    assert_eq!(one.template, two.template);
}

#[tokio::test]
async fn a_template_goes_only_when_no_sandbox_stands_on_it() {
    let world = World::new().await;
    let asked = world.build(r#"{"name":"mine"}"#).await;
    let sandbox = world.create(r#"{"templateID":"mine"}"#).await;
    let refused = world.delete("/templates/mine").await.error(400);
    let text =
        format!("cannot delete template '{}' because there are running sandboxes using it", asked.template);
    assert_eq!(refused["message"], text);
    world.delete(&format!("/sandboxes/{sandbox}")).await.expect(204);
    world.delete("/templates/default%2Fmine:anything").await.expect(204);
    world.delete("/templates/mine").await.error(404);
    world.delete("/templates/base").await.error(403);
    assert_eq!(world.node.builds.forgotten.lock().unwrap()[0].to_string(), asked.build);
    assert_eq!(world.get("/templates").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn one_template_is_shown_with_its_builds_and_published() {
    let world = World::new().await;
    let asked = world.build(r#"{"name":"mine"}"#).await;
    world.build(r#"{"name":"mine"}"#).await;
    let shown = world.get(&format!("/templates/{}?limit=1", asked.template)).await.expect(200);
    assert_eq!(shown.header("x-next-token"), Some("1"));
    let shown = shown.json();
    assert_eq!((&shown["buildCount"], shown["builds"].as_array().unwrap().len()), (&2.into(), 1));
    assert_eq!((&shown["public"], &shown["names"][0]), (&false.into(), &"default/mine".into()));
    let update = world.request("PATCH", "/v2/templates/mine", r#"{"public":true}"#);
    assert_eq!(world.send(update).await.expect(200).json()["names"][0], "default/mine");
    assert_eq!(world.get("/templates/aliases/mine").await.json()["public"], true);
    assert_eq!(world.get("/v2/templates?limit=1").await.expect(200).header("x-next-token"), Some("1"));
    assert_eq!(world.get("/default-templates").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn builds_under_way_are_bounded() {
    let world = World::with(|options| options.max_builds = 1).await;
    let asked = world.ask(r#"{"name":"a"}"#).await;
    world.start_build(&asked).await;
    let refused = world.post("/v3/templates", r#"{"name":"b"}"#).await;
    assert_eq!(refused.header("should-retry"), Some("false"));
    refused.error(429);
}

#[tokio::test]
async fn a_build_can_be_canceled_until_it_ends() {
    let world = World::new().await;
    let (waiting, building) = (world.ask(r#"{"name":"a"}"#).await, world.ask(r#"{"name":"b"}"#).await);
    world.start_build(&building).await;
    for asked in [&waiting, &building] {
        let uri = format!("/templates/{}/builds/{}/cancel", asked.template, asked.build);
        world.post(&uri, "").await.expect(204);
        let status = world.status(asked, "").await;
        assert_eq!(
            (&status["status"], &status["reason"]["message"]),
            (&"error".into(), &"The build was canceled".into())
        );
        world.post(&uri, "").await.error(400);
    }
}

#[tokio::test]
async fn the_operator_cancels_all_builds_of_a_team() {
    let world = World::new().await;
    let (waiting, building) = (world.ask(r#"{"name":"a"}"#).await, world.ask(r#"{"name":"b"}"#).await);
    world.start_build(&building).await;
    let cancel = async |team: &str| {
        let uri = format!("/admin/teams/{team}/builds/cancel");
        let request = http::Request::post(uri).header("X-Admin-Token", "the operator");
        world.send(request.body("".into()).unwrap()).await
    };
    let teams = http::Request::get("/admin/teams").header("X-Admin-Token", "the operator");
    let teams = world.send(teams.body("".into()).unwrap()).await.expect(200).json();
    let team = teams[0]["teamID"].as_str().unwrap();
    let report = cancel(team).await.expect(200).json();
    assert_eq!(report, serde_json::json!({ "cancelledCount": 2, "failedCount": 0 }));
    for asked in [&waiting, &building] {
        assert_eq!(world.status(asked, "").await["status"], "error");
    }
    let again = cancel(team).await.expect(200).json();
    assert_eq!(again, serde_json::json!({ "cancelledCount": 0, "failedCount": 0 }));
    cancel("00000000-0000-4000-8000-000000000000").await.error(404);
}

#[tokio::test]
async fn the_cache_is_shown_and_cleared() {
    let world = World::new().await;
    insta::assert_json_snapshot!(world.get("/template-cache").await.expect(200).json(), @r#"
    [
      {
        "createdAt": "2026-11-21T10:00:00.000000Z",
        "inUse": true,
        "key": "k1",
        "lastUsedAt": "2026-11-21T10:00:01.000000Z",
        "sizeBytes": 1048576,
        "title": "RUN ls"
      }
    ]
    "#);
    world.delete("/template-cache/k1").await.expect(204);
    world.delete("/template-cache/k2").await.error(404);
    let collected = world.post("/template-cache/gc", r#"{"unusedForHours":5}"#).await.expect(200).json();
    assert_eq!((&collected["layers"], &collected["sizeBytes"]), (&5.into(), &3_145_728.into()));
    assert_eq!(collected["removing"], 6);
    let verified = world.post("/template-cache/verify", "").await.expect(200).json();
    assert_eq!((&verified["layers"], &verified["sizeBytes"]), (&4.into(), &5_242_880.into()));
    assert_eq!(verified["damaged"][0], serde_json::json!({"layer": "l1", "reason": "it is missing"}));
}

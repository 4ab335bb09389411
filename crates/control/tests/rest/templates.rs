//! Templates and teams.

use http::Request;
use model::{BuildId, Timestamp};
use warren_control::Demand;

use crate::world::{World, base};

#[tokio::test]
async fn the_list_has_every_field_clients_demand() {
    let world = World::new().await;
    world.create_base().await;
    insta::assert_json_snapshot!(world.get("/templates").await.expect(200).json(), @r#"
    [
      {
        "aliases": [
          "base",
          "base-template-000-0000-0000-000000000001"
        ],
        "buildCount": 1,
        "buildID": "00000000-0000-0000-0000-000000000001",
        "buildStatus": "ready",
        "cpuCount": 2,
        "createdAt": "2026-11-21T10:00:00.000000Z",
        "createdBy": null,
        "diskSizeMB": 10240,
        "envdVersion": "0.6.4",
        "lastSpawnedAt": "2026-11-21T10:00:00.000000Z",
        "memoryMB": 1024,
        "names": [
          "base",
          "base-template-000-0000-0000-000000000001"
        ],
        "public": true,
        "spawnCount": 1,
        "templateID": "basetemplate00000001",
        "updatedAt": "2026-11-21T10:00:00.000000Z"
      }
    ]
    "#);
    world.get("/templates?teamID=00000000-0000-4000-8000-000000000000").await.error(400);
}

#[tokio::test]
async fn an_alias_exists_or_not() {
    let world = World::new().await;
    insta::assert_json_snapshot!(world.get("/templates/aliases/Base").await.expect(200).json(), @r#"
    {
      "public": true,
      "templateID": "basetemplate00000001"
    }
    "#);
    insta::assert_json_snapshot!(world.get("/templates/aliases/nope").await.error(404), @r#"
    {
      "code": 404,
      "message": "template 'nope' not found"
    }
    "#);
    insta::assert_json_snapshot!(world.get("/templates/aliases/other%2Fbase").await.error(400), @r#"
    {
      "code": 400,
      "message": "namespace 'other' is not yours"
    }
    "#);
    world.get("/templates/aliases/base%3Adefault").await.expect(200);
    world.get("/templates/aliases/base%3Av9").await.error(404);
    world.get("/templates/aliases/a%20b").await.error(400);
}

/// As older Python clients send it.
#[tokio::test]
async fn a_full_name_leads_to_its_template_with_its_stroke_plain_too() {
    let world = World::new().await;
    let asked = world.ask(r#"{"name":"mine"}"#).await;
    for path in ["/templates/aliases/default/mine", "/templates/aliases/default%2Fmine"] {
        assert_eq!(world.get(path).await.expect(200).json()["templateID"], *asked.template, "{path}");
    }
    assert_eq!(world.get("/templates/default/mine/tags").await.expect(200).json(), serde_json::json!([]));
    world.delete("/templates/default/mine:default").await.expect(204);
    world.delete("/templates/default/mine:default").await.error(404);
}

#[tokio::test]
async fn a_newer_build_takes_the_name_over_and_an_older_one_does_not() {
    let world = World::new().await;
    let newer = node::TemplateBuild {
        build_id: BuildId::from_u128(2),
        created_at: base().created_at + std::time::Duration::from_secs(1),
        ..base()
    };
    world.app.register_builds(vec![newer, base()]).await.unwrap();
    world.create_base().await;
    assert_eq!(world.node.last_order().build_id, BuildId::from_u128(2));
    let list = world.get("/templates").await.json();
    assert_eq!(
        (&list[0]["buildCount"], &list[0]["buildID"]),
        (&2.into(), &BuildId::from_u128(2).to_string().into())
    );
}

#[tokio::test]
async fn daemons_that_know_no_token_cannot_be_secured() {
    let world = World::new().await;
    let old = node::TemplateBuild {
        template_id: "old".parse().unwrap(),
        build_id: BuildId::from_u128(3),
        aliases: vec!["old-one".to_owned()],
        envd_version: "0.1.9".to_owned(),
        created_at: Timestamp::from_unix_micros(0),
        ..base()
    };
    world.app.register_builds(vec![old]).await.unwrap();
    insta::assert_json_snapshot!(world.post("/v2/sandboxes", r#"{"templateID":"old-one"}"#).await.error(400), @r#"
    {
      "code": 400,
      "message": "Template is not compatible with secured access. Please visit https://e2b.dev/docs/sandbox/secured-access for more information."
    }
    "#);
    world.post("/sandboxes", r#"{"templateID":"old-one"}"#).await.expect(201);
}

#[tokio::test]
async fn a_template_on_demand_is_built_when_somebody_asks() {
    let world = World::new().await;
    world.app.offer_on_demand(&["desktop"]);
    let progress = async || world.get("/default-templates/desktop").await.expect(200).json();
    // Whether it exists is asked, and nothing else: that builds nothing.
    world.get("/templates/aliases/desktop").await.error(404);
    assert_eq!(progress().await["status"], "absent");

    let create = async || world.post("/v2/sandboxes", r#"{"templateID":"desktop"}"#).await;
    let first = create().await;
    assert_eq!((first.header("retry-after"), first.header("should-retry")), (Some("10"), Some("true")));
    assert_eq!(
        first.error(503)["message"],
        "template 'desktop' is built on demand, which takes some minutes: its build begins now"
    );
    assert_eq!(progress().await["status"], "waiting");
    assert_eq!(world.app.next_demanded().await, "desktop");
    let say = |demand| world.app.say_demand("desktop", demand);
    say(Demand::Building("template desktop: step 1/4: Install the screen".to_owned()));
    assert_eq!(
        create().await.error(503)["message"],
        "template 'desktop' is built on demand, which takes some minutes: \
         template desktop: step 1/4: Install the screen"
    );
    assert_eq!(progress().await["status"], "building");
    // All that does not need it goes on, and the server is healthy.
    world.get("/health").await.expect(200);
    world.create_base().await;

    say(Demand::Failed("no network".to_owned()));
    insta::assert_json_snapshot!(progress().await, @r#"
    {
      "message": "its last build failed: no network",
      "name": "desktop",
      "status": "error"
    }
    "#);
    // The next who asks hears why, and begins another attempt.
    let again = create().await.error(503)["message"].as_str().unwrap().to_owned();
    assert!(again.ends_with("its last build failed and begins again: no network"), "{again}");
    assert_eq!(world.app.next_demanded().await, "desktop");

    let built = node::TemplateBuild {
        template_id: "desk".parse().unwrap(),
        build_id: BuildId::from_u128(4),
        aliases: vec!["desktop".to_owned()],
        ..base()
    };
    world.app.register_builds(vec![built]).await.unwrap();
    say(Demand::Ready);
    create().await.expect(201);
    // One that is there can be asked for in its newest form.
    let asked = world.post("/default-templates/desktop", "").await.expect(202).json();
    assert_eq!((&asked["name"], &asked["status"]), (&"desktop".into(), &"waiting".into()));
    create().await.expect(201);
}

#[tokio::test]
async fn only_what_is_offered_is_built_on_demand() {
    let world = World::new().await;
    world.app.offer_on_demand(&["desktop"]);
    for name in ["nothing", "base", "someone%2Fdesktop"] {
        world.post(&format!("/default-templates/{name}"), "").await.error(404);
        world.get(&format!("/default-templates/{name}")).await.error(404);
    }
    world.post("/v2/sandboxes", r#"{"templateID":"nothing"}"#).await.error(404);
    world.post("/v2/sandboxes", r#"{"templateID":"someone/desktop"}"#).await.error(404);
    assert_eq!(world.get("/default-templates/desktop").await.json()["status"], "absent");
    // One of an earlier run of the server is there without a question.
    let built = node::TemplateBuild { aliases: vec!["desktop".to_owned()], ..base() };
    world.app.register_builds(vec![built]).await.unwrap();
    assert_eq!(world.get("/default-templates/desktop").await.json()["status"], "ready");
}

#[tokio::test]
async fn the_command_line_finds_its_team_by_either_header() {
    let world = World::new().await;
    let bearer = Request::builder().uri("/teams").header("authorization", format!("Bearer {}", world.key));
    for request in [world.request("GET", "/teams", ""), bearer.body(axum::body::Body::empty()).unwrap()] {
        let teams = world.send(request).await.expect(200).json();
        assert_eq!((&teams[0]["isDefault"], &teams[0]["name"]), (&true.into(), &"default".into()));
        assert_eq!(teams[0]["apiKey"], world.key.as_str());
    }
}

#[tokio::test]
async fn while_templates_are_built_only_what_needs_them_has_to_wait() {
    let world = World::new().await;
    let sandbox = world.create_base().await;
    world.app.say_building(Some("template code-interpreter: step 2/5: Install Python packages".to_owned()));
    let missing = world.post("/v2/sandboxes", r#"{"templateID":"code-interpreter-v1"}"#).await;
    assert_eq!((missing.header("retry-after"), missing.header("should-retry")), (Some("10"), Some("true")));
    assert_eq!(
        missing.error(503)["message"],
        "template 'code-interpreter-v1' is not here yet: this server is building its templates \
         (template code-interpreter: step 2/5: Install Python packages)"
    );
    let health = world.get("/health").await;
    assert_eq!(health.header("retry-after"), Some("10"));
    health.error(503);
    world.get(&format!("/sandboxes/{sandbox}")).await.expect(200);
    world.create_base().await;
    world.delete(&format!("/sandboxes/{sandbox}")).await.expect(204);

    world.app.say_building(None);
    world.get("/health").await.expect(200);
    world.post("/v2/sandboxes", r#"{"templateID":"code-interpreter-v1"}"#).await.error(404);
}

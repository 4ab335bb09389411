//! Teams, people, keys and tokens: who may do what, and what is never shown.

use std::time::Duration;

use serde_json::{Value, json};
use warren_control::RateLimit;

use crate::world::{Answer, World};

const OPERATOR: &[(&str, &str)] = &[("x-admin-token", "the operator")];

async fn ask(world: &World, headers: &[(&str, &str)], method: &str, uri: &str, body: Value) -> Answer {
    let request = http::Request::builder().method(method).uri(uri);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.send(request.body(body.into()).unwrap()).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A second team with a person in it; answers the team's id and their token.
async fn person(world: &World, email: &str, team: &str) -> (String, String) {
    let made = ask(world, OPERATOR, "POST", "/admin/teams", json!({"name": team})).await.expect(201).json();
    let team_id = text(&made["teamID"]);
    let members = format!("/admin/teams/{team_id}/members");
    let user = ask(world, OPERATOR, "POST", &members, json!({"email": email})).await.expect(201).json();
    let tokens = format!("/admin/users/{}/access-tokens", text(&user["userID"]));
    let token = ask(world, OPERATOR, "POST", &tokens, json!({"name": "laptop"})).await.expect(201).json();
    assert_eq!(token["mask"]["prefix"], "sk_e2b_");
    (team_id, text(&token["token"]))
}

#[tokio::test]
async fn a_person_makes_renames_and_revokes_keys() {
    let world = World::new().await;
    let (_, token) = person(&world, "Ann@Example.com", "Ann's team").await;
    let bearer = format!("Bearer {token}");
    let ann: &[(&str, &str)] = &[("authorization", &bearer)];

    let made = ask(&world, ann, "POST", "/api-keys", json!({"name": "ci"})).await.expect(201).json();
    let key = text(&made["key"]);
    assert!(key.starts_with("e2b_") && key.len() == 44, "{key}");
    assert_eq!(made["createdBy"]["email"], "ann@example.com");
    assert_eq!(made["lastUsed"], Value::Null);
    assert_eq!(
        made["mask"],
        json!({"prefix": "e2b_", "valueLength": 40, "maskedValuePrefix": key[4..6], "maskedValueSuffix": key[40..]})
    );

    let with_key: &[(&str, &str)] = &[("x-api-key", &key)];
    ask(&world, with_key, "GET", "/v2/sandboxes", Value::Null).await.expect(200);
    let uri = format!("/api-keys/{}", text(&made["id"]));
    let renamed = ask(&world, ann, "PATCH", &uri, json!({"name": "build"})).await.expect(200).json();
    assert_eq!(renamed["name"], "build");

    // The use is written down off the request's path.
    let listed = loop {
        let answer = ask(&world, ann, "GET", "/api-keys", Value::Null).await.expect(200);
        assert!(!answer.text.contains(&key[6..]), "the secret is shown once only");
        let listed = answer.json();
        if listed[0]["lastUsed"].is_string() {
            break listed;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("build")));

    ask(&world, ann, "DELETE", &uri, Value::Null).await.expect(204);
    ask(&world, ann, "DELETE", &uri, Value::Null).await.error(404);
    ask(&world, with_key, "GET", "/v2/sandboxes", Value::Null).await.error(401);
}

#[tokio::test]
async fn teams_keep_to_themselves() {
    let world = World::new().await;
    let (_, ann) = person(&world, "ann@example.com", "ann").await;
    let (bobs_team, bob) = person(&world, "bob@example.com", "bob").await;
    let (ann, bob) = (format!("Bearer {ann}"), format!("Bearer {bob}"));
    let theirs: &[(&str, &str)] = &[("authorization", &bob)];
    let made = ask(&world, theirs, "POST", "/api-keys", json!({"name": "his"})).await.expect(201).json();

    let hers: &[(&str, &str)] = &[("authorization", &ann)];
    let uri = format!("/api-keys/{}", text(&made["id"]));
    ask(&world, hers, "PATCH", &uri, json!({"name": "mine"})).await.error(404);
    ask(&world, hers, "DELETE", &uri, Value::Null).await.error(404);
    let intruding: &[(&str, &str)] = &[("authorization", &ann), ("x-team-id", &bobs_team)];
    ask(&world, intruding, "GET", "/api-keys", Value::Null).await.error(403);

    // A sandbox of one team is unknown to the other.
    let id = world.create_base().await;
    ask(&world, theirs, "GET", &format!("/sandboxes/{id}"), Value::Null).await.error(404);
    ask(&world, theirs, "DELETE", &format!("/sandboxes/{id}"), Value::Null).await.error(404);
    assert_eq!(ask(&world, theirs, "GET", "/v2/sandboxes", Value::Null).await.json(), json!([]));
}

#[tokio::test]
async fn a_log_in_finds_one_default_team_and_a_new_key() {
    let world = World::new().await;
    let (first, token) = person(&world, "ann@example.com", "zebra").await;
    let second =
        ask(&world, OPERATOR, "POST", "/admin/teams", json!({"name": "apple"})).await.expect(201).json();
    let members = format!("/admin/teams/{}/members", text(&second["teamID"]));
    ask(&world, OPERATOR, "POST", &members, json!({"email": "ann@example.com"})).await.expect(201);

    let bearer = format!("Bearer {token}");
    let ann: &[(&str, &str)] = &[("authorization", &bearer)];
    let teams = ask(&world, ann, "GET", "/teams", Value::Null).await.expect(200).json();
    let default: Vec<_> = teams.as_array().unwrap().iter().filter(|team| team["isDefault"] == true).collect();
    assert_eq!((teams.as_array().unwrap().len(), default.len()), (2, 1));
    assert_eq!(text(&default[0]["teamID"]), first, "the first team stays the default one");
    let key = text(&default[0]["apiKey"]);
    ask(&world, &[("x-api-key", &key)], "GET", "/v2/sandboxes", Value::Null).await.expect(200);

    for _ in 0..25 {
        ask(&world, ann, "GET", "/teams", Value::Null).await.expect(200);
    }
    let keys = ask(&world, ann, "GET", "/api-keys", Value::Null).await.expect(200).json();
    assert_eq!(keys.as_array().unwrap().len(), 20, "log-ins do not pile up");

    let made = ask(&world, ann, "POST", "/access-tokens", json!({"name": "phone"})).await.expect(201).json();
    let uri = format!("/access-tokens/{}", text(&made["id"]));
    ask(&world, ann, "DELETE", &uri, Value::Null).await.expect(204);
    let phone = format!("Bearer {}", text(&made["token"]));
    ask(&world, &[("authorization", &phone)], "GET", "/teams", Value::Null).await.error(401);
}

#[tokio::test]
async fn an_api_key_manages_no_keys_and_is_no_operator() {
    let world = World::new().await;
    let key: &[(&str, &str)] = &[("x-api-key", &world.key)];
    insta::assert_json_snapshot!(ask(&world, key, "GET", "/api-keys", Value::Null).await.error(401), @r#"
    {
      "code": 401,
      "message": "an API key cannot manage keys: use an access token or the admin token"
    }
    "#);
    ask(&world, key, "POST", "/access-tokens", json!({"name": "x"})).await.error(401);
    ask(&world, key, "GET", "/admin/teams", Value::Null).await.error(401);
    let wrong: &[(&str, &str)] = &[("x-admin-token", "the operator!")];
    ask(&world, wrong, "GET", "/admin/teams", Value::Null).await.error(401);
    for name in ["", " ", "a\u{7}b", &"x".repeat(200)] {
        ask(&world, OPERATOR, "POST", "/admin/teams", json!({"name": name})).await.error(400);
    }
    ask(&world, OPERATOR, "POST", "/admin/teams", json!({"name": "default"})).await.error(409);
}

#[tokio::test]
async fn a_blocked_team_reads_and_removes_and_a_banned_one_nothing() {
    let world = World::new().await;
    let id = world.create_base().await;
    let teams = ask(&world, OPERATOR, "GET", "/admin/teams", Value::Null).await.expect(200).json();
    let uri = format!("/admin/teams/{}", text(&teams[0]["teamID"]));
    let stand = async |standing: &str| {
        ask(&world, OPERATOR, "PATCH", &uri, json!({"standing": standing})).await.expect(200);
    };
    stand("blocked").await;
    world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await.error(403);
    world.get("/v2/sandboxes").await.expect(200);
    world.delete(&format!("/sandboxes/{id}")).await.expect(204);
    stand("banned").await;
    world.get("/v2/sandboxes").await.error(403);
    stand("good").await;
    world.get("/v2/sandboxes").await.expect(200);
    ask(&world, OPERATOR, "PATCH", &uri, json!({"standing": "odd"})).await.error(400);
}

#[tokio::test]
async fn a_team_has_its_own_limit_and_the_operator_can_clear_it() {
    let world = World::new().await;
    let teams = ask(&world, OPERATOR, "GET", "/admin/teams", Value::Null).await.expect(200).json();
    let team = text(&teams[0]["teamID"]);
    let uri = format!("/admin/teams/{team}");
    ask(&world, OPERATOR, "PATCH", &uri, json!({"maxSandboxes": 2})).await.expect(200);
    world.create_base().await;
    world.create_base().await;
    let refused = world.post("/v2/sandboxes", r#"{"templateID":"base"}"#).await;
    assert_eq!(refused.header("should-retry"), Some("false"));
    let message = text(&refused.error(429)["message"]);
    assert!(message.starts_with("you have reached the maximum number of concurrent E2B sandboxes (2). "));
    let counts = ask(&world, OPERATOR, "GET", "/admin/sandboxes/running-counts", Value::Null).await.json();
    assert_eq!(counts, json!([{"teamID": team, "runningCount": 2}]));
    let killed = ask(&world, OPERATOR, "POST", &format!("{uri}/sandboxes/kill"), Value::Null).await.json();
    assert_eq!(killed, json!({"killedCount": 2, "failedCount": 0}));
    assert!(world.node.ids().is_empty());
}

/// Its id is no secret; that it is there is told to whoever has it, and no more.
#[tokio::test]
async fn a_template_of_another_team_is_refused_by_its_id() {
    let world = World::new().await;
    let template = world.ask(r#"{"name":"mine"}"#).await.template;
    let (_, token) = person(&world, "ann@example.com", "ann").await;
    let bearer = format!("Bearer {token}");
    let ann: &[(&str, &str)] = &[("authorization", &bearer)];
    for (method, path) in [("GET", "/templates/aliases/"), ("DELETE", "/templates/")] {
        ask(&world, ann, method, &format!("{path}{template}"), Value::Null).await.error(403);
        ask(&world, ann, method, &format!("{path}mine"), Value::Null).await.error(404);
    }
    ask(&world, ann, "GET", "/templates/aliases/base", Value::Null).await.expect(200);
    world.get(&format!("/templates/aliases/{template}")).await.expect(200);
}

#[tokio::test]
async fn a_rate_limit_is_found_by_the_route_as_the_document_spells_it() {
    let limit = RateLimit { burst: 1, period: Duration::from_secs(10) };
    let world = World::with(|options| {
        options.rate_limits = [("GET /sandboxes/{sandboxID}".to_owned(), limit)].into();
    })
    .await;
    let id = world.create_base().await;
    let path = format!("/sandboxes/{id}");
    let first = world.get(&path).await.expect(200);
    assert_eq!(first.header("ratelimit-limit"), Some("1"));
    world.get(&path).await.error(429);
    world.get("/v2/sandboxes").await.expect(200);
}

/// Row: R1.
#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let limit = RateLimit { burst: 2, period: Duration::from_secs(10) };
    let world = World::with(|options| {
        options.rate_limits = [("GET /v2/sandboxes".to_owned(), limit)].into();
    })
    .await;
    let first = world.get("/v2/sandboxes").await.expect(200);
    assert_eq!(
        (first.header("ratelimit-limit"), first.header("ratelimit-remaining")),
        (Some("2"), Some("1"))
    );
    assert_eq!(first.header("ratelimit-reset"), Some("5"));
    world.get("/v2/sandboxes").await.expect(200);
    let refused = world.get("/v2/sandboxes").await;
    assert_eq!(
        (refused.header("retry-after"), refused.header("ratelimit-remaining")),
        (Some("5"), Some("0"))
    );
    assert_eq!(refused.error(429)["message"], "Rate limit exceeded");
    // Others are not affected: other routes, other teams.
    world.get("/templates").await.expect(200);
    let (_, token) = person(&world, "ann@example.com", "ann").await;
    let bearer = format!("Bearer {token}");
    ask(&world, &[("authorization", &bearer)], "GET", "/v2/sandboxes", Value::Null).await.expect(200);
    world.pass(Duration::from_secs(5));
    world.get("/v2/sandboxes").await.expect(200);
}

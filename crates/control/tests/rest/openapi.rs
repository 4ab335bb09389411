//! The document says nothing that the router does not do, and every operation
//! in it is held against who may ask for it.

use warren_control::document::{REST, SESSIONS, operations};

use crate::world::World;

/// Who may ask for an operation.
#[derive(Debug, PartialEq)]
enum Who {
    Everybody,
    /// A team's key will do.
    Key,
    /// A person or the operator for a team.
    Manager,
    Person,
    Operator,
}

fn who(path: &str) -> Who {
    let first = path.split('/').nth(1).unwrap();
    match first {
        "health" => Who::Everybody,
        "admin" | "metrics" | "nodes" => Who::Operator,
        "api-keys" => Who::Manager,
        "access-tokens" => Who::Person,
        _ => Who::Key,
    }
}

/// Ids that parse, and lead to nothing but the caller's own team.
fn concrete(path: &str, team: &str) -> String {
    const UUID: &str = "00000000-0000-4000-8000-000000000000";
    let path = path.replace("{sandboxID}", "i1").replace("{alias}", "base").replace("{nodeID}", "local");
    let path = path.replace("/teams/{teamID}/metrics", &format!("/teams/{team}/metrics"));
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.iter_mut().filter(|part| part.starts_with('{')).for_each(|part| *part = UUID);
    parts.join("/")
}

#[tokio::test]
async fn every_documented_operation_is_there_and_asks_who_asks() {
    let world = World::new().await;
    let operations = operations(REST);
    assert!(operations.len() > 30, "{}", operations.len());
    let team = world.get("/teams").await.json()[0]["teamID"].as_str().unwrap().to_owned();
    let ask = async |method: &str, path: &str, header: Option<(&str, &str)>| {
        let request = http::Request::builder().method(method).uri(concrete(path, &team));
        let request = if let Some((name, value)) = header { request.header(name, value) } else { request };
        world.send(request.body("{}".into()).unwrap()).await
    };
    let stranger = format!("e2b_{}", "0".repeat(40));
    let key = ("x-api-key", world.key.as_str());
    for (method, path) in operations {
        let who = who(&path);
        let right = if who == Who::Operator { ("x-admin-token", "the operator") } else { key };
        let answer = ask(&method, &path, Some(right)).await;
        assert!(![405, 501].contains(&answer.status.as_u16()), "{method} {path}: {}", answer.text);
        assert!(!answer.text.contains("no such route"), "{method} {path}");
        if matches!(who, Who::Key | Who::Operator) {
            assert!(![401, 403].contains(&answer.status.as_u16()), "{method} {path}: {}", answer.text);
        }
        if who == Who::Everybody {
            continue;
        }
        for header in [None, Some(("x-api-key", stranger.as_str())), Some(("x-admin-token", "wrong"))] {
            ask(&method, &path, header).await.error(401);
        }
        if who != Who::Key {
            ask(&method, &path, Some(key)).await.error(401);
        }
    }
}

#[tokio::test]
async fn every_documented_call_of_a_session_is_there() {
    let world = World::new().await;
    let operations = operations(SESSIONS);
    assert_eq!(operations.len(), 8);
    for (method, path) in operations {
        let path = path.replace("{session_id}", "s1");
        let answer = world.send(world.request(&method, &path, "{}")).await;
        assert_ne!(answer.status, 405, "{method} {path}: {}", answer.text);
        assert!(!answer.text.contains("no such route"), "{method} {path}");
        let request = http::Request::builder().method(method.as_str()).uri(&path);
        let answer = world.send(request.body("{}".into()).unwrap()).await.expect(401);
        assert!(answer.json()["detail"].is_string(), "{method} {path}: {}", answer.text);
    }
}

//! The document says nothing that the router does not do.

use crate::world::World;

const DOCUMENT: &str = include_str!("../../../../api/openapi.yaml");

/// Paths stand two spaces in, methods four: enough of YAML for this.
fn operations() -> Vec<(String, String)> {
    let (mut path, mut found) = (String::new(), Vec::new());
    let paths = DOCUMENT.split("\npaths:\n").nth(1).unwrap().split("\ncomponents:\n").next().unwrap();
    for line in paths.lines() {
        let key = line.trim_end_matches(':');
        if let Some(text) = key.strip_prefix("  ").filter(|text| text.starts_with('/')) {
            path = text.replace("{sandboxID}", "i1").replace("{alias}", "base");
        } else if let Some(method) = key.strip_prefix("    ")
            && ["get", "post", "put", "patch", "delete"].contains(&method)
        {
            found.push((method.to_uppercase(), path.clone()));
        }
    }
    found
}

#[tokio::test]
async fn every_documented_operation_is_there() {
    let world = World::new().await;
    let operations = operations();
    assert_eq!(operations.len(), 16);
    for (method, path) in operations {
        let answer = world.send(world.request(&method, &path, "{}")).await;
        assert!(![405, 501].contains(&answer.status.as_u16()), "{method} {path}: {}", answer.text);
        assert!(!answer.text.contains("no such route"), "{method} {path}");
        if path != "/health" {
            let request = http::Request::builder().method(method.as_str()).uri(&path);
            let answer = world.send(request.body("{}".into()).unwrap()).await;
            assert_eq!(answer.status, 401, "{method} {path} answers without a key");
        }
    }
}

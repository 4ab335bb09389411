//! Every route of the protocol is served, or says by name that it is not: the
//! list in `docs/reference/routes.md` is what this test finds.
//!
//! `WARREN_WRITE_ROUTES=1 cargo nextest run …` writes it anew.

use std::fmt::Write as _;

use http::Request;

use crate::world::World;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/routes.md");

const HEAD: &str = "<!-- Held by crates/control/tests/rest/routes.rs, which also writes it. -->\n\n\
# Routes of E2B's API\n\n\
Each route that clients, dashboards and operators of E2B know, and what this server does with it. A route that is not\n\
served answers `501` with the sentence that is quoted. Beside these there are routes of our own: the API document\n\
(`GET /openapi.yaml`) has all that are served.\n\n\
| route | state |\n|---|---|\n";

/// In the order of the protocol's index.
const ROUTES: &[&str] = &[
    "POST /v2/sandboxes",
    "POST /sandboxes",
    "GET /v2/sandboxes",
    "GET /sandboxes",
    "GET /sandboxes/{sandboxID}",
    "DELETE /sandboxes/{sandboxID}",
    "POST /sandboxes/{sandboxID}/timeout",
    "POST /sandboxes/{sandboxID}/refreshes",
    "POST /v2/sandboxes/{sandboxID}/connect",
    "POST /sandboxes/{sandboxID}/connect",
    "POST /sandboxes/{sandboxID}/resume",
    "POST /sandboxes/{sandboxID}/pause",
    "POST /sandboxes/{sandboxID}/fork",
    "POST /sandboxes/{sandboxID}/snapshots",
    "GET /snapshots",
    "PUT /sandboxes/{sandboxID}/network",
    "GET /sandboxes/{sandboxID}/metrics",
    "GET /sandboxes/metrics",
    "GET /sandboxes/{sandboxID}/logs",
    "GET /v2/sandboxes/{sandboxID}/logs",
    "POST /v3/templates",
    "GET /templates/{templateID}/files/{hash}",
    "POST /v2/templates/{templateID}/builds/{buildID}",
    "GET /templates/{templateID}/builds/{buildID}/status",
    "GET /templates/{templateID}/builds/{buildID}/logs",
    "GET /templates/aliases/{alias}",
    "GET /templates",
    "GET /v2/templates",
    "GET /templates/{templateID}",
    "DELETE /templates/{templateID}",
    "PATCH /v2/templates/{templateID}",
    "PATCH /templates/{templateID}",
    "POST /templates/tags",
    "DELETE /templates/tags",
    "GET /templates/{templateID}/tags",
    "GET /templates/{templateID}/tags/count",
    "GET /templates/{templateID}/tags/exists",
    "GET /templates/{templateID}/tags/groups",
    "GET /templates/{templateID}/tags/{tag}/assignments",
    "GET /default-templates",
    "GET /volumes",
    "POST /volumes",
    "GET /volumes/{volumeID}",
    "DELETE /volumes/{volumeID}",
    "GET /volumecontent/{volumeID}/path",
    "PATCH /volumecontent/{volumeID}/path",
    "DELETE /volumecontent/{volumeID}/path",
    "GET /volumecontent/{volumeID}/dir",
    "POST /volumecontent/{volumeID}/dir",
    "GET /volumecontent/{volumeID}/file",
    "PUT /volumecontent/{volumeID}/file",
    "GET /secrets",
    "POST /secrets",
    "GET /secrets/{secret}",
    "POST /secrets/{secret}",
    "DELETE /secrets/{secret}",
    "GET /teams",
    "GET /teams/{teamID}/metrics",
    "GET /teams/{teamID}/metrics/max",
    "GET /api-keys",
    "POST /api-keys",
    "PATCH /api-keys/{apiKeyID}",
    "DELETE /api-keys/{apiKeyID}",
    "POST /access-tokens",
    "DELETE /access-tokens/{accessTokenID}",
    "POST /templates",
    "POST /v2/templates",
    "POST /templates/{templateID}",
    "POST /templates/{templateID}/builds/{buildID}",
    "GET /nodes",
    "GET /nodes/{nodeID}",
    "POST /nodes/{nodeID}",
    "POST /admin/teams/{teamID}/sandboxes/kill",
    "POST /admin/teams/{teamID}/builds/cancel",
    "GET /admin/sandboxes/running-counts",
    "POST /admin/teams/{teamID}/api-keys",
    "DELETE /admin/teams/{teamID}/api-keys/{apiKeyID}",
    "GET /health",
    "GET /events/sandboxes",
    "GET /events/sandboxes/{sandboxID}",
    "GET /events/webhooks",
    "POST /events/webhooks",
    "GET /events/webhooks/{webhookID}",
    "PATCH /events/webhooks/{webhookID}",
    "DELETE /events/webhooks/{webhookID}",
];

/// With ids that parse and lead to nothing.
fn concrete(path: &str) -> String {
    let part = |part: &str| match part {
        "{sandboxID}" => "i1".to_owned(),
        "{tag}" | "{secret}" | "{alias}" => "some".to_owned(),
        _ if part.starts_with('{') => "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_of_the_protocol_is_served_or_names_itself() {
    let world = World::new().await;
    let mut page = HEAD.to_owned();
    for route in ROUTES {
        let (method, path) = route.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(concrete(path))
            .header("X-API-Key", &world.key)
            .header("X-Admin-Token", "the operator");
        let answer = world.send(request.body("{}".into()).unwrap()).await;
        assert_ne!(answer.status, 405, "{route}");
        assert!(!answer.text.contains("no such route"), "{route}");
        assert!(answer.status != 500 && answer.status != 503, "{route}: {}", answer.text);
        let state = match answer.status.as_u16() {
            501 => format!("501: *{}*", answer.error(501)["message"].as_str().unwrap()),
            _ => "served".to_owned(),
        };
        writeln!(page, "| `{route}` | {state} |").unwrap();
    }
    // Not a route of the API: the address that the one before hands out.
    page.push_str("| `PUT <upload URL>` | served |\n");
    if std::env::var_os("WARREN_WRITE_ROUTES").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let found = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(found, page, "docs/reference/routes.md is out of date: WARREN_WRITE_ROUTES=1 writes it");
}

//! A control plane with a fake node, a clock of its own and a database in a
//! temporary directory; requests go straight into the router.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use model::{BuildId, Resources, SandboxId, Timestamp};
use node::TemplateBuild;
use serde_json::Value;
use store::Store;
use tower::ServiceExt as _;
use warren_control::{App, AppOptions, Clock, NodePort, Seed};

use crate::fake::FakeNode;

/// 2026-11-21T10:00:00Z.
const START: i64 = 1_795_255_200_000_000;

pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) node: Arc<FakeNode>,
    pub(crate) key: String,
    now: Arc<AtomicI64>,
    store: Store,
    options: AppOptions,
    _dir: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {:?}", self.text))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// What every answer above 399 must be; returns it for a snapshot.
    #[track_caller]
    pub(crate) fn error(self, status: u16) -> Value {
        let answer = self.expect(status);
        let body = answer.json();
        assert_eq!(body["code"], status);
        assert!(body["message"].is_string());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        body
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut AppOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(START));
        let clock = {
            let now = Arc::clone(&now);
            Clock::new(move || Timestamp::from_unix_micros(now.load(Ordering::Relaxed)))
        };
        let mut options = AppOptions {
            clock: clock.clone(),
            private_webhooks: true,
            admin_token: Some(Seed::new(*b"the operator")),
            ..AppOptions::new(Seed::new(*b"a seed for tests"))
        };
        change(&mut options);
        let store = Store::open(&dir.path().join("warren.db")).await.unwrap();
        let node = Arc::new(FakeNode::new(clock));
        let app = App::new(options.clone(), store.clone(), Arc::clone(&node) as Arc<dyn NodePort>);
        let key = app.bootstrap().await.unwrap().unwrap().reveal().to_owned();
        assert!(app.bootstrap().await.unwrap().is_none(), "a second start makes no second key");
        app.register_builds(vec![base()]).await.unwrap();
        Self { app, node, key, now, store, options, _dir: dir }
    }

    /// The same database and node with a new control plane: a restart.
    pub(crate) fn restarted(&self) -> App {
        App::new(self.options.clone(), self.store.clone(), Arc::clone(&self.node) as Arc<dyn NodePort>)
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.now.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
        self.node.expire();
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.now.load(Ordering::Relaxed))
    }

    pub(crate) fn router(&self) -> Router {
        warren_control::router(self.app.clone())
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) fn request(&self, method: &str, uri: &str, body: impl Into<Body>) -> Request<Body> {
        let request = Request::builder().method(method).uri(uri).header("X-API-KEY", &self.key);
        request.body(body.into()).unwrap()
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send(self.request("GET", uri, "")).await
    }

    pub(crate) async fn delete(&self, uri: &str) -> Answer {
        self.send(self.request("DELETE", uri, "")).await
    }

    pub(crate) async fn post(&self, uri: &str, body: &str) -> Answer {
        self.send(self.request("POST", uri, body.to_owned())).await
    }

    /// Creates by the newest call and answers the id.
    pub(crate) async fn create(&self, body: &str) -> SandboxId {
        let answer = self.post("/v2/sandboxes", body).await.expect(201).json();
        answer["sandboxID"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn create_base(&self) -> SandboxId {
        self.create(r#"{"templateID":"base"}"#).await
    }
}

pub(crate) const BASE_ID: &str = "basetemplate00000001";

pub(crate) fn base() -> TemplateBuild {
    TemplateBuild {
        template_id: BASE_ID.parse().unwrap(),
        build_id: BuildId::from_u128(1),
        aliases: vec!["base".to_owned(), "base-template-000-0000-0000-000000000001".to_owned()],
        client: false,
        snapshot: false,
        resources: Resources::DEFAULT,
        envd_version: "0.6.4".to_owned(),
        created_at: Timestamp::from_unix_micros(START),
    }
}

/// Replaces what differs from run to run.
pub(crate) fn masked(mut body: Value, id: &SandboxId) -> Value {
    fn walk(value: &mut Value, id: &str) {
        match value {
            Value::String(text) => *text = text.replace(id, "<id>"),
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, id)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    if name == "envdAccessToken" {
                        assert_eq!(value.as_str().unwrap().len(), 64);
                        *value = "<token>".into();
                    }
                    walk(value, id);
                }
            }
            _ => {}
        }
    }
    walk(&mut body, id.as_str());
    body
}

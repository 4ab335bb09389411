//! The bounds of the service that need no kernel, gone up to and beyond.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::Value;
use warren_guest::interpreter::{BoxFuture, KernelCommand, KernelProcess, KernelSpawner};

use crate::harness::with_spawner;

/// Starts that never come to an end.
#[derive(Debug)]
struct Never;

impl KernelSpawner for Never {
    fn spawn(&self, _: KernelCommand) -> BoxFuture<'_, std::io::Result<Box<dyn KernelProcess>>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn contexts() {
    with_spawner(Arc::new(Never), |service| async move {
        let service = &service;
        let n_contexts = async || {
            let (_, body) = service.call(Method::GET, "/contexts", "").await;
            serde_json::from_str::<Vec<Value>>(&body).unwrap().len()
        };
        let listed = n_contexts().await;
        let starting: Vec<_> =
            (listed..64).map(|_| Box::pin(service.send(Method::POST, "/contexts", "{}"))).collect();
        let one_more = async {
            while n_contexts().await < 64 {
                tokio::task::yield_now().await;
            }
            service.call(Method::POST, "/contexts", "{}").await
        };
        let all = futures_util::future::join_all(starting);
        let refused = tokio::select! {
            refused = one_more => refused,
            _ = all => unreachable!("none of them starts"),
        };
        assert_eq!(refused.0, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(refused.1.contains("already has 64 contexts"), "{}", refused.1);
        assert_eq!(n_contexts().await, 64);
    });
}

#[test]
fn the_body_of_a_request() {
    with_spawner(Arc::new(Never), |service| async move {
        let body = |bytes: usize| {
            let frame = r#"{"code":""}"#.len();
            format!(r#"{{"code":"{}"}}"#, "#".repeat(bytes - frame))
        };
        let execute = async |bytes: usize| {
            let response = service.send(Method::POST, "/execute", &body(bytes)).await;
            response.status()
        };
        assert_eq!(execute(32 << 20).await, StatusCode::OK);
        assert_eq!(execute((32 << 20) + 1).await, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(service.call(Method::GET, "/contexts", "").await.0, StatusCode::OK, "it goes on");
    });
}

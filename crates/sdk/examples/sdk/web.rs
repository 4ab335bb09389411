//! A web service that runs its visitors' code, each in a sandbox of a pool.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use warren_sdk::{Config, Error, PoolOptions, SandboxPool};

async fn execute(
    State(pool): State<Arc<SandboxPool>>,
    Json(request): Json<Value>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let wrong = |e: Error| (StatusCode::BAD_GATEWAY, e.to_string());
    let code = request["code"].as_str().ok_or((StatusCode::BAD_REQUEST, "name some code".to_owned()))?;
    let sandbox = pool.acquire().await.map_err(wrong)?;
    let execution = sandbox.run_code(code).await.map_err(wrong)?;
    let error = execution.error.as_ref().map(|error| error.value.clone());
    Ok(Json(json!({ "stdout": execution.stdout.concat(), "text": execution.text(), "error": error })))
}

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let options = PoolOptions { sandbox: super::with_code(), min: 1, max: 2, ..PoolOptions::default() };
    let pool = Arc::new(SandboxPool::start(config, options)?);
    let app = Router::new().route("/execute", post(execute)).with_state(Arc::clone(&pool));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    // A visitor.
    let body = r#"{"code": "print('hi'); 1 + 1"}"#;
    let mut visitor = TcpStream::connect(address).await?;
    let head = "POST /execute HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n";
    visitor.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut answer = String::new();
    visitor.read_to_string(&mut answer).await?;
    println!("{}", answer.lines().last().unwrap_or_default());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""text":"2""#), "{answer}");

    // The sandboxes end with the service.
    server.abort();
    let _ = server.await;
    if let Some(pool) = Arc::into_inner(pool) {
        pool.close().await;
    }
    Ok(())
}

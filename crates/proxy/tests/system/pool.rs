//! Connections into a sandbox: reused, never across generations, bounded.

use std::sync::atomic::Ordering;

use warren_proxy::ProxyOptions;

use crate::world::{Client, World, echo};

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let world = World::new().await;
    tokio::spawn(echo(world.sandbox.listen(8000).await));
    let mut client = world.connect().await;
    for i in 0..50 {
        client.send(&format!("GET /{i} HTTP/1.1\r\nhost: 8000-iabc.x\r\n\r\n")).await;
        client.until(&format!("GET /{i} HTTP/1.1\r\nhost: 8000-iabc.x\r\n\r\n")).await;
    }
    let dials = world.sandbox.dials.load(Ordering::Relaxed);
    // A request may overtake the news that the last connection is free again.
    assert!(dials <= 5, "{dials} connections for 50 requests");
}

#[tokio::test]
async fn a_new_generation_gets_new_connections() {
    let world = World::new().await;
    tokio::spawn(echo(world.sandbox.listen(8000).await));
    assert_eq!(world.get("8000-iabc.x", "/", "").await.0, 200);
    let fresh = tokio::spawn(echo(world.sandbox.listen(8000).await));
    world.restart(2);
    let before = world.sandbox.dials.load(Ordering::Relaxed);
    assert_eq!(world.get("8000-iabc.x", "/", "").await.0, 200);
    assert_eq!(world.sandbox.dials.load(Ordering::Relaxed), before + 1);
    fresh.abort();
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_the_client_s_trouble() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    tokio::spawn(async move {
        // Closes each connection right after its answer, without having said so.
        loop {
            let mut server = Client(listener.accept().await.unwrap().0);
            server.until("\r\n\r\n").await;
            server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let mut client = world.connect().await;
    for _ in 0..50 {
        client.send("GET / HTTP/1.1\r\nhost: 8000-iabc.x\r\n\r\n").await;
        assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn one_sandbox_cannot_take_every_place() {
    let world = World::with(ProxyOptions { max_per_sandbox: 2, ..ProxyOptions::default() }).await;
    let listener = world.sandbox.listen(8000).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = world.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: 8000-iabc.x\r\n\r\n").await;
        busy.push((client, listener.accept().await.unwrap()));
    }
    let (status, body) = world.get("8000-iabc.x", "/", "").await;
    assert_eq!((status, body.contains(r#""connectionLimit":2,"code":429"#)), (429, true), "{body}");
    busy.clear();
    tokio::spawn(echo(listener));
    while world.get("8000-iabc.x", "/", "").await.0 != 200 {
        tokio::task::yield_now().await;
    }
}

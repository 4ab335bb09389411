//! What happens to traffic when the sandbox, or the server, ends.

use std::io::ErrorKind;

use tokio::io::AsyncReadExt;

use crate::world::{Client, World};

/// Starts an answer that never ends; client and server side of it.
async fn endless(world: &World) -> (Client, Client) {
    let listener = world.sandbox.listen(8000).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: 8000-iabc.x\r\n\r\n").await;
    let mut server = Client(listener.accept().await.unwrap().0);
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    client.until("1\r\na\r\n").await;
    (client, server)
}

#[tokio::test]
async fn a_kill_resets_a_stream_at_once() {
    let world = World::new().await;
    let (mut client, mut server) = endless(&world).await;
    world.kill();
    assert_eq!(client.rest().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(server.0.read_u8().await.is_err(), "the sandbox's side is closed too");
    let (status, body) = world.get("49983-iabc.x", "/health", "").await;
    assert_eq!((status, body.contains("was not found")), (502, true));
}

#[tokio::test]
async fn a_kill_answers_a_request_that_waits_for_its_answer() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: 8000-iabc.x\r\n\r\n").await;
    let mut server = Client(listener.accept().await.unwrap().0);
    server.until("\r\n\r\n").await;
    world.kill();
    // Nothing of an answer went out yet, so the plain truth can.
    assert!(client.until("was not found").await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test]
async fn a_kill_resets_a_client_that_does_not_read() {
    let world = World::new().await;
    let (mut client, mut server) = endless(&world).await;
    // Far more than all buffers on the way hold.
    let stuffing = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let stuff = async {
        for _ in 0..1_000 {
            server.send(&stuffing).await;
        }
    };
    let stuck = tokio::time::timeout(std::time::Duration::from_millis(300), stuff).await;
    assert!(stuck.is_err(), "the proxy must not swallow what its client does not take");
    world.kill();
    assert_eq!(client.rest().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_kill_resets_a_tunnel() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: 8000-iabc.x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    let mut server = Client(listener.accept().await.unwrap().0);
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello").await;
    client.until("hello").await;
    world.kill();
    assert_eq!(client.rest().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_complete_one() {
    let world = World::new().await;
    let (mut client, server) = endless(&world).await;
    server.0.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(client.rest().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_kill_leaves_an_idle_connection_to_its_other_uses() {
    let world = World::new().await;
    tokio::spawn(crate::world::echo(world.sandbox.listen(8000).await));
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: 8000-iabc.x\r\n\r\n").await;
    client.until("host: 8000-iabc.x\r\n\r\n").await;
    world.kill();
    client.send("GET /still HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(client.rest().await.unwrap().ends_with("api /still"));
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs_and_takes_nothing_new() {
    let world = World::new().await;
    let (mut client, mut server) = endless(&world).await;
    world.shutdown.cancel();
    server.send("1\r\nb\r\n0\r\n\r\n").await;
    assert!(client.rest().await.unwrap().ends_with("1\r\nb\r\n0\r\n\r\n"));
    world.serving.await.unwrap();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", world.port)).await.is_err());
}

#[tokio::test]
async fn who_connects_and_asks_nothing_loses_the_place() {
    let first_head_timeout = std::time::Duration::from_millis(200);
    let world = World::with(warren_proxy::ProxyOptions { first_head_timeout, ..Default::default() }).await;
    let (mut asking, mut slow) = (world.connect().await, world.connect().await);
    let mut silent = world.connect().await;
    asking.send("GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    asking.until("api /a").await;
    slow.send("GET /b HTTP/1.1\r\nhost: loc").await;
    assert_eq!(slow.rest().await.unwrap_or_default(), "");
    assert_eq!(silent.rest().await.unwrap_or_default(), "");
    // Only the first head is in a hurry: a pool may keep what it used.
    asking.send("GET /c HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(asking.rest().await.unwrap().ends_with("api /c"));
}

//! What is carried: both routing forms, streams, uploads, tunnels, refusals.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Client, ID, World, echo};

#[tokio::test]
async fn both_forms_reach_the_port_and_the_rest_the_api() {
    let world = World::new().await;
    tokio::spawn(echo(world.sandbox.listen(8000).await));
    let (status, seen) = world.get("8000-iabc.localhost:3000", "/a?b=%20c", "x-access-token: t\r\n").await;
    assert_eq!(status, 200);
    assert!(seen.starts_with("GET /a?b=%20c HTTP/1.1\r\nhost: 8000-iabc.localhost:3000\r\n"), "{seen}");
    assert!(seen.contains("x-access-token: t"), "{seen}");
    assert!(!seen.contains("connection"), "{seen}");
    let (status, seen) =
        world.get("localhost", "/h", "E2B-Sandbox-Id: iabc\r\nE2b-Sandbox-Port: 8000\r\n").await;
    assert_eq!((status, seen.starts_with("GET /h ")), (200, true));
    assert_eq!(world.get("localhost", "/v2/sandboxes", "").await, (200, "api /v2/sandboxes".to_owned()));
    let alone = world.get("localhost", "/", "e2b-sandbox-id: iabc\r\n").await;
    assert_eq!(alone, (400, "missing header".to_owned()));
    let twice = world.get("localhost", "/", "host: 8000-iabc.x\r\n").await;
    assert_eq!(twice, (400, "Invalid host".to_owned()));
}

#[tokio::test]
async fn a_signature_alone_leads_to_the_sandbox_that_made_it() {
    let world = World::new().await;
    tokio::spawn(echo(world.sandbox.listen(49983).await));
    let signed = "/files?path=%2Fhome%2Fuser%2Fa+b.txt&username=user\
                  &signature=v1_Y8IQlyJqKv53mNXK%2F5F%2BX%2FAcrsOQon44dTy59t1O9Hw";
    let (status, seen) = world.get("localhost", signed, "").await;
    assert_eq!((status, seen.starts_with(&format!("GET {signed} "))), (200, true), "{seen}");
    let (status, seen) = world.get("localhost", &signed.replace("a+b", "c"), "").await;
    assert_eq!((status, seen.contains("invalid signature")), (401, true), "{seen}");
    let (status, _) = world.get("localhost", &format!("{signed}&signature_expiration=x"), "").await;
    assert_eq!(status, 401);
    // A host name outranks the signature, and what is not signed is the API's.
    assert_eq!(world.get("49983-igone.test", signed, "").await.0, 502);
    assert_eq!(world.get("localhost", "/files?path=x", "").await.1, "api /files");
}

#[tokio::test]
async fn refusals_are_the_contract_s() {
    let world = World::new().await;
    let (status, body) = world.get("8000-igone.test", "/", "").await;
    let expected = r#"{"sandboxId":"igone","message":"The sandbox was not found","code":502}"#;
    assert_eq!((status, body.as_str()), (502, expected));
    let (status, body) = world.get("8000-iabc.test", "/", "").await;
    assert_eq!((status, body.contains("running but port is not open")), (502, true), "{body}");
    assert_eq!(world.sandbox.dials.load(std::sync::atomic::Ordering::Relaxed), 5);
    let (status, body) = world.get("8000-iabc.test", "/", "user-agent: Mozilla/5.0\r\n").await;
    assert_eq!((status, body.starts_with("<!DOCTYPE html>")), (502, true), "{body}");
    let (status, body) = world.get("49983-iabc.test", "/x/..//%69nit", "").await;
    assert_eq!((status, body.contains(r#""path":"/x/..//%69nit","code":404"#)), (404, true), "{body}");
}

#[tokio::test]
async fn a_port_that_opens_late_is_reached() {
    let world = World::new().await;
    let request = world.get("8000-iabc.test", "/", "");
    let late = async {
        while world.sandbox.dials.load(std::sync::atomic::Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        tokio::spawn(echo(world.sandbox.listen(8000).await));
    };
    let ((status, _), ()) = tokio::join!(request, late);
    assert_eq!(status, 200);
}

#[tokio::test]
async fn streams_pass_frame_by_frame() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    let mut client = world.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: 8000-iabc.x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        .await;
    let mut server = Client(listener.accept().await.unwrap().0);
    assert!(server.until("3\r\none\r\n").await.contains("transfer-encoding: chunked"));
    // The answer begins before the request is complete, and neither waits for the other.
    server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    client.until("1\r\na\r\n").await;
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    server.until("3\r\ntwo\r\n0\r\n\r\n").await;
    server.send("1\r\nb\r\n0\r\n\r\n").await;
    client.until("1\r\nb\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn an_old_server_s_answer_ends_with_its_connection() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    let server = async {
        let mut server = Client(listener.accept().await.unwrap().0);
        server.until("\r\n\r\n").await;
        server.send("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nold").await;
    };
    let ((status, body), ()) = tokio::join!(world.get("8000-iabc.x", "/", ""), server);
    assert_eq!(status, 200);
    assert!(body.contains("old"), "{body}");
}

#[tokio::test]
async fn a_tunnel_carries_both_ways_and_half_closes() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    let mut client = world.connect().await;
    client
        .send("GET /ws HTTP/1.1\r\nhost: 8000-iabc.x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    let mut server = Client(listener.accept().await.unwrap().0);
    let head = server.until("\r\n\r\n").await;
    assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
    server
        .send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello")
        .await;
    let head = client.until("hello").await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    client.send("ping").await;
    server.until("ping").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(server.rest().await.unwrap(), "");
    server.send("bye").await;
    drop(server);
    assert_eq!(client.rest().await.unwrap(), "bye");
}

#[tokio::test]
async fn a_big_upload_and_download_arrive_whole() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    let size = 32 << 20;
    let server = tokio::spawn(async move {
        let mut server = Client(listener.accept().await.unwrap().0);
        let head = server.until("\r\n\r\n").await;
        let mut left = size - head.split_once("\r\n\r\n").unwrap().1.len();
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            left -= server.0.read(&mut buffer).await.unwrap();
        }
        server.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n")).await;
        server.0.write_all(&vec![b'y'; size]).await.unwrap();
    });
    let mut client = world.connect().await;
    let head =
        format!("PUT / HTTP/1.1\r\nhost: 8000-iabc.x\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n");
    client.send(&head).await;
    client.0.write_all(&vec![b'x'; size]).await.unwrap();
    let answer = client.rest().await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body.len(), size);
    server.await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_is_told_to_the_sandbox() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    let mut client = world.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: 8000-iabc.x\r\n\r\n").await;
    let mut server = Client(listener.accept().await.unwrap().0);
    server.until("\r\n\r\n").await;
    drop(client);
    assert_eq!(server.rest().await.unwrap(), "");
}

#[tokio::test]
async fn debug_ports_answer_only_this_machine() {
    let world = World::new().await;
    tokio::spawn(echo(world.sandbox.listen(49983).await));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let debug =
        world.proxy.clone().serve_debug_port(listener, 49983, ID.parse().unwrap(), world.shutdown.clone());
    tokio::spawn(debug);
    for (host, headers, expected) in [
        ("localhost:49983", "e2b-sandbox-id: debug_sandbox_id\r\ne2b-sandbox-port: 49983\r\n", 200),
        ("127.0.0.1:49983", "origin: http://localhost:5173\r\n", 200),
        ("evil.example", "", 403),
        ("49983-iabc.x", "", 403),
        ("localhost", "origin: https://evil.example\r\n", 403),
        ("localhost", "origin: null\r\n", 403),
    ] {
        let mut client = Client(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        client
            .send(&format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n"))
            .await;
        let answer = client.rest().await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{host} {headers} {answer}");
    }
}

#[tokio::test]
async fn two_framings_of_one_body_are_not_carried_on() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    let mut client = world.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: 8000-iabc.x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    let mut server = Client(listener.accept().await.unwrap().0);
    let seen = server.until("0\r\n\r\n").await;
    assert!(seen.contains("transfer-encoding: chunked") && !seen.contains("content-length"), "{seen}");
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_refused() {
    let world = World::new().await;
    let listener = world.sandbox.listen(8000).await;
    for answer in ["HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", "nonsense\r\n\r\n", ""] {
        let server = async {
            let mut server = Client(listener.accept().await.unwrap().0);
            server.until("\r\n\r\n").await;
            server.send(answer).await;
        };
        let ((status, body), ()) = tokio::join!(world.get("8000-iabc.x", "/", ""), server);
        assert_eq!(
            (status, body.contains("closed the connection before it answered")),
            (502, true),
            "{body}"
        );
    }
}

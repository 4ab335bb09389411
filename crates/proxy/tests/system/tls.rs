//! TLS and HTTP/2 on the listener that speaks plain HTTP too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::client::TlsStream;
use warren_proxy::{ProxyOptions, Tls};

use crate::world::{Client, World, echo};

const NAME: &str = "*.sbx.test";

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

struct Secure {
    world: World,
    client: tokio_rustls::rustls::ClientConfig,
}

impl Secure {
    async fn new() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let key = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider).unwrap();
        let tls = Tls::new(Arc::new(One(Arc::new(key))), false).unwrap();
        let world = World::with(ProxyOptions { tls: Some(tls), ..ProxyOptions::default() }).await;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { world, client }
    }

    async fn connect(&self, protocol: &str) -> TlsStream<tokio::net::TcpStream> {
        let mut config = self.client.clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let tcp = self.world.connect().await.0;
        let name = ServerName::try_from("8000-iabc.sbx.test").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        stream
    }

    async fn http1(&self, path: &str) -> String {
        let mut stream = self.connect("http/1.1").await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: api.sbx.test\r\nconnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn http2(&self) -> SendRequest<Empty<Bytes>> {
        let io = TokioIo::new(self.connect("h2").await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

fn get(host: &str, path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://{host}{path}")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn one_port_speaks_plain_http_and_tls() {
    let secure = Secure::new().await;
    assert_eq!(secure.world.get("localhost", "/plain", "").await, (200, "api /plain".to_owned()));
    let answer = secure.http1("/tls").await;
    assert!(answer.ends_with("api /tls"), "{answer}");
}

/// URLs that a client is given begin with it.
#[tokio::test]
async fn the_api_knows_over_what_a_request_came() {
    let secure = Secure::new().await;
    assert_eq!(secure.world.get("localhost", "/scheme", "").await.1, "api http");
    let answer = secure.http1("/scheme").await;
    assert!(answer.ends_with("api https"), "{answer}");
    let answer = secure.http2().await.send_request(get("api.sbx.test", "/scheme")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "api https");
}

/// Whoever knows that a server speaks HTTP/2 needs no TLS for it.
#[tokio::test]
async fn plain_http2_leads_where_plain_http_does() {
    let world = World::with(ProxyOptions::default()).await;
    tokio::spawn(echo(world.sandbox.listen(8000).await));
    let io = TokioIo::new(world.connect().await.0);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut text = async |host: &str| {
        let request = Request::get(format!("http://{host}/h2c")).body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    assert_eq!(text("localhost").await, "api /h2c");
    let inside = text("8000-iabc.sbx.test").await;
    assert!(inside.starts_with("GET /h2c HTTP/1.1\r\n"), "{inside}");
    assert!(inside.contains("host: 8000-iabc.sbx.test\r\n"), "{inside}");
}

/// Methods begin with the same letters as the preface, and letters come late.
#[tokio::test]
async fn a_method_is_no_preface_however_slowly_it_comes() {
    let world = World::with(ProxyOptions::default()).await;
    let mut client = world.connect().await;
    for piece in ["P", "R", "OPFIND /slow HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = client.until("api /slow").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn http2_carries_many_requests_to_many_hosts_on_one_connection() {
    let secure = Secure::new().await;
    tokio::spawn(echo(secure.world.sandbox.listen(8000).await));
    let sender = secure.http2().await;
    let requests = (0..200).map(|i| {
        let mut sender = sender.clone();
        let host = if i % 2 == 0 { "8000-iabc.sbx.test" } else { "api.sbx.test" };
        async move {
            sender.ready().await.unwrap();
            let answer = sender.send_request(get(host, &format!("/{i}"))).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            if i % 2 == 0 {
                assert!(text.starts_with(&format!("GET /{i} HTTP/1.1\r\n")), "{text}");
                assert!(text.contains("host: 8000-iabc.sbx.test\r\n"), "{text}");
            } else {
                assert_eq!(text, format!("api /{i}"));
            }
        }
    });
    futures_util::future::join_all(requests).await;
}

#[tokio::test]
async fn a_kill_resets_only_the_streams_of_its_sandbox() {
    let secure = Secure::new().await;
    let listener = secure.world.sandbox.listen(8000).await;
    let mut sender = secure.http2().await;
    let answering = sender.send_request(get("8000-iabc.sbx.test", "/"));
    let inside = async {
        let mut server = Client(listener.accept().await.unwrap().0);
        server.until("\r\n\r\n").await;
        server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        server
    };
    let (answer, _server) = tokio::join!(answering, inside);
    let mut body = answer.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    secure.world.kill();
    assert!(body.frame().await.unwrap().is_err(), "half a stream is not a whole one");
    let gone = sender.send_request(get("8000-iabc.sbx.test", "/")).await.unwrap();
    assert_eq!(gone.status(), StatusCode::BAD_GATEWAY);
    let api = sender.send_request(get("api.sbx.test", "/still")).await.unwrap();
    assert_eq!(api.into_body().collect().await.unwrap().to_bytes(), "api /still");
}

#[tokio::test]
async fn a_client_that_cancels_a_stream_leaves_nothing_in_the_sandbox() {
    let secure = Secure::new().await;
    let listener = secure.world.sandbox.listen(8000).await;
    let mut sender = secure.http2().await;
    let asking = tokio::spawn(sender.send_request(get("8000-iabc.sbx.test", "/")));
    let mut server = Client(listener.accept().await.unwrap().0);
    server.until("\r\n\r\n").await;
    asking.abort();
    assert_eq!(server.rest().await.unwrap_or_default(), "", "its connection is closed");
}

#[tokio::test]
async fn a_silent_tls_client_loses_its_place() {
    let mut secure = Secure::new().await;
    let tls = secure.world.options.tls.clone();
    let first_head_timeout = Duration::from_millis(200);
    secure.world = World::with(ProxyOptions { tls, first_head_timeout, ..Default::default() }).await;
    for protocol in ["h2", "http/1.1"] {
        let mut stream = secure.connect(protocol).await;
        let mut rest = Vec::new();
        // An abrupt end without TLS's own farewell is one too.
        let _ = stream.read_to_end(&mut rest).await;
    }
    assert_eq!(secure.world.connect().await.rest().await.unwrap_or_default(), "");
}

//! A daemon on a free port of this process, and a client that speaks to it by hand.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use warren_guest::{Bounds, Options, run_async};
use wire::connect::envelope::{Decoder, FLAG_END, encode};

/// Where a daemon listens.
#[derive(Clone, Copy)]
pub(crate) struct Guest {
    address: SocketAddr,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Runs `test` against a daemon of its own.
pub(crate) fn with_guest(test: impl AsyncFnOnce(Guest)) {
    with_bounds(Bounds::default(), test);
}

/// The same with bounds of its own.
pub(crate) fn with_bounds(bounds: Bounds, test: impl AsyncFnOnce(Guest)) {
    within(Duration::from_mins(1), bounds, test);
}

/// The same for a test that moves the clock on by up to `limit`.
pub(crate) fn within(limit: Duration, bounds: Bounds, test: impl AsyncFnOnce(Guest)) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options {
        trial_port: None,
        envd_addresses: vec![address],
        control_socket: Some(format!("warren-test-{}", address.port())),
        trust_local_control: true,
        helper: env!("CARGO_BIN_EXE_warren-guest").into(),
        owns_root: false,
        bounds,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let daemon = tokio::task::spawn_local(run_async(options));
        while TcpStream::connect(address).await.is_err() {
            assert!(!daemon.is_finished(), "the daemon ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let done = tokio::time::timeout(limit, test(Guest { address })).await;
        done.expect("the test ends in time");
    });
}

impl Guest {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(self, request: http::Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        exchange(stream, request).await
    }

    pub(crate) async fn get(self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", target, headers, b"")).await
    }

    pub(crate) async fn post(self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(request("POST", target, headers, body)).await
    }

    /// A unary call.
    pub(crate) async fn call(self, method: &str, body: &str) -> Answer {
        self.post(method, &[("content-type", "application/json")], body.as_bytes()).await
    }

    /// A stream with one request message; all messages and the end record.
    pub(crate) async fn stream(
        self,
        method: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> (Vec<Value>, Value) {
        let headers = [&[("content-type", "application/connect+json")], headers].concat();
        let answer = self.post(method, &headers, &encode(0, body.as_bytes())).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/connect+json");
        records(&answer.body)
    }

    /// Starts a process and leaves; returns its id.
    pub(crate) async fn start_and_leave(self, body: &str) -> u64 {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let task = tokio::task::spawn_local(connection);
        let headers = [("content-type", "application/connect+json")];
        let request = request("POST", "/process.Process/Start", &headers, &encode(0, body.as_bytes()));
        let mut response = sender.send_request(request).await.unwrap();
        let mut decoder = Decoder::new(1 << 20);
        let first = loop {
            decoder.push(&response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap());
            if let Some(envelope) = decoder.next_envelope().unwrap() {
                break envelope;
            }
        };
        task.abort();
        let event: Value = serde_json::from_slice(&first.payload).unwrap();
        event["event"]["start"]["pid"].as_u64().unwrap_or_else(|| panic!("no start: {event}"))
    }

    /// Starts a process and reads nothing of the answer but its head.
    pub(crate) async fn start_unread(self, body: &str) -> Unread {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        let headers = [("content-type", "application/connect+json")];
        let request = request("POST", "/process.Process/Start", &headers, &encode(0, body.as_bytes()));
        Unread { response: sender.send_request(request).await.unwrap(), _open: sender }
    }

    /// Starts a process and reads what it tells, one message after another.
    pub(crate) async fn start_stream(self, body: &str, headers: &[(&str, &str)]) -> Stream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        let headers = [&[("content-type", "application/connect+json")], headers].concat();
        let request = request("POST", "/process.Process/Start", &headers, &encode(0, body.as_bytes()));
        let response = sender.send_request(request).await.unwrap();
        Stream { response, decoder: Decoder::new(1 << 20), _open: sender }
    }

    /// A connection that asks nothing.
    pub(crate) async fn hold(self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the head of an upload of unknown length and one piece, then nothing;
    /// the status that comes.
    pub(crate) async fn half_an_upload(self, target: &str, piece: &[u8]) -> u16 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = self.hold().await;
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n\
             transfer-encoding: chunked\r\n\r\n{:x}\r\n",
            piece.len()
        );
        stream.write_all(&[head.as_bytes(), piece, b"\r\n"].concat()).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
    }

    /// A request to the host's socket.
    pub(crate) async fn control(self, method: &str, target: &str, body: &str) -> Answer {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("warren-test-{}", self.address.port());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let stream = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
        exchange(stream, request(method, target, &[], body.as_bytes())).await
    }
}

/// A stream that is read message by message.
pub(crate) struct Stream {
    response: http::Response<hyper::body::Incoming>,
    decoder: Decoder,
    _open: http1::SendRequest<Full<Bytes>>,
}

impl Stream {
    /// The next message; waits for it. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some(envelope) = self.decoder.next_envelope().unwrap() {
                return serde_json::from_slice(&envelope.payload).unwrap();
            }
            let frame = self.response.body_mut().frame().await.unwrap().unwrap();
            self.decoder.push(&frame.into_data().unwrap());
        }
    }
}

/// A stream whose client takes its time.
pub(crate) struct Unread {
    response: http::Response<hyper::body::Incoming>,
    _open: http1::SendRequest<Full<Bytes>>,
}

impl Unread {
    /// Reads it at last: all messages and the end record.
    pub(crate) async fn read(self) -> (Vec<Value>, Value) {
        records(&self.response.into_body().collect().await.unwrap().to_bytes())
    }
}

async fn exchange<S>(stream: S, request: http::Request<Full<Bytes>>) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Request<Full<Bytes>> {
    let mut request = http::Request::builder().method(method).uri(target).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
}

/// The messages of a stream and its end record, which must be the last.
fn records(body: &[u8]) -> (Vec<Value>, Value) {
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(body);
    let mut messages = Vec::new();
    while let Some(envelope) = decoder.next_envelope().unwrap() {
        let value: Value = serde_json::from_slice(&envelope.payload).unwrap();
        if envelope.flags & FLAG_END != 0 {
            decoder.finish().unwrap();
            return (messages, value);
        }
        messages.push(value);
    }
    panic!("no end record after {messages:?}");
}

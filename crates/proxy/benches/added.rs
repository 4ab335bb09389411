//! What the proxy adds to a request: the same client, server and machine, with
//! and without the proxy between them.
//!
//! Prints round trips one after another (p50, p99), requests per second over 32
//! connections, and the rate of one big download, each direct, through a bare
//! relay that moves bytes both ways by `splice` and sees none, and proxied; then
//! what thousands of idle connections hold that have each led into the sandbox.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench fails by panic and prints its result")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::SandboxId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use warren_proxy::{BoxFuture, Connection, Dial, DialError, Lookup, Proxy, ProxyOptions, Resolve, Route};

const BIG: usize = 256 << 20;
const N_CONNECTIONS: usize = 32;
const N_SEQUENTIAL: usize = 20_000;
const N_DOWNLOADS: usize = 3;
/// Nearly what the proxy takes at a time; two descriptors each are held here.
const N_IDLE: usize = 8_000;
/// Of the bare relay's pipes.
const PIPE: usize = 1 << 20;
const RUN: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Loopback(u16);

impl Dial for Loopback {
    fn dial(&self, _port: u16) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>> {
        Box::pin(async {
            let stream = TcpStream::connect(("127.0.0.1", self.0)).await.unwrap();
            stream.set_nodelay(true).unwrap();
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}

#[derive(Debug)]
struct One(Route);

impl Resolve for One {
    fn resolve<'a>(&'a self, _: &'a SandboxId) -> BoxFuture<'a, Lookup> {
        Box::pin(std::future::ready(Lookup::Running(self.0.clone())))
    }

    fn signer(&self, _: &wire::files::SignedUrl) -> Option<SandboxId> {
        None
    }
}

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    raise_open_files();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let direct = server.local_addr().unwrap().port();
    tokio::spawn(serve(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxied = listener.local_addr().unwrap().port();
    let route = Route {
        sandbox_id: "iabc".parse().unwrap(),
        generation: 1,
        dial: Arc::new(Loopback(direct)),
        ended: CancellationToken::new(),
    };
    let proxy = Proxy::new(ProxyOptions::default(), Arc::new(One(route)));
    tokio::spawn(proxy.serve(listener, service_fn_tower(), CancellationToken::new()));
    let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let relayed = relay.local_addr().unwrap().port();
    std::thread::spawn(move || relay_to(direct, &relay));
    println!("| proxy, same run | direct | bare splice relay | proxied | promise |\n|---|--:|--:|--:|---|");
    let (a, b, c) = (round_trips(direct).await, round_trips(relayed).await, round_trips(proxied).await);
    let added = verdict(c.0.saturating_sub(a.0) <= 60);
    println!(
        "| round trip p50 / p99, µs | {} / {} | {} / {} | {} / {} | ≤ 60 added at p50: {added} |",
        a.0, a.1, b.0, b.1, c.0, c.1
    );
    println!(
        "| requests per second, {N_CONNECTIONS} connections | {} | {} | {} |  |",
        rate(direct).await,
        rate(relayed).await,
        rate(proxied).await
    );
    let (a, b, c) = (best(direct).await, best(relayed).await, best(proxied).await);
    let kept = verdict(c * 100 >= b * 85);
    println!("| download, MiB/s, best of {N_DOWNLOADS} | {a} | {b} | {c} | ≥ 85 % of the relay: {kept} |");
    let (count, bytes) = idle(proxied).await;
    println!(
        "| {count} idle routed connections, KiB each (both ends here) |  |  | {} |  |",
        bytes / 1024 / count
    );
}

fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "**missed**" }
}

/// Moves bytes both ways within the kernel, a thread for each way: the least that
/// a program between two sockets costs.
fn relay_to(port: u16, listener: &std::net::TcpListener) {
    loop {
        let client = listener.accept().unwrap().0;
        let server = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        for (from, to) in [(&client, &server), (&server, &client)] {
            to.set_nodelay(true).unwrap();
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || {
                // It ends with either side, and the other learns of it.
                let _ = splice_all(&from, &to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    }
}

fn splice_all(from: &std::net::TcpStream, to: &std::net::TcpStream) -> rustix::io::Result<()> {
    use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};
    let (out, into) = pipe()?;
    let size = fcntl_setpipe_size(&into, PIPE)?;
    loop {
        let mut left = splice(from, None, &into, None, size, SpliceFlags::MOVE)?;
        if left == 0 {
            return Ok(());
        }
        while left > 0 {
            left -= splice(&out, None, to, None, left, SpliceFlags::MOVE)?;
        }
    }
}

async fn best(port: u16) -> u128 {
    let mut best = 0;
    for _ in 0..N_DOWNLOADS {
        best = best.max(download(port).await);
    }
    best
}

/// Connections that have each been answered once by the sandbox and rest now:
/// how many, and by how much this process, which holds both ends, has grown.
async fn idle(port: u16) -> (u64, u64) {
    let before = resident();
    let (mut held, mut buffer) = (Vec::with_capacity(N_IDLE), [0; 4096]);
    for _ in 0..N_IDLE {
        let mut stream = connect(port).await;
        once(&mut stream, &mut buffer).await;
        held.push(stream);
    }
    let grown = resident().saturating_sub(before);
    // They still work.
    for stream in held.iter_mut().step_by(1_000) {
        once(stream, &mut buffer).await;
    }
    (held.len() as u64, grown)
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn service_fn_tower()
-> impl tower::Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(|_| std::future::ready(Ok(Response::new(Full::new(Bytes::new())))))
}

async fn serve(listener: TcpListener) {
    let big = Bytes::from(vec![b'x'; BIG]);
    loop {
        let stream = listener.accept().await.unwrap().0;
        stream.set_nodelay(true).unwrap();
        let big = big.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let body = if request.uri().path() == "/big" { big.clone() } else { Bytes::from_static(b"ok") };
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(body))))
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One request and its short answer.
async fn once(stream: &mut TcpStream, buffer: &mut [u8]) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: 8000-iabc.test\r\n\r\n").await.unwrap();
    let mut filled = 0;
    while !buffer[..filled].ends_with(b"ok") {
        filled += stream.read(&mut buffer[filled..]).await.unwrap();
    }
}

async fn round_trips(port: u16) -> (u128, u128) {
    let (mut stream, mut buffer) = (connect(port).await, [0; 4096]);
    let mut took = Vec::with_capacity(N_SEQUENTIAL);
    for _ in 0..N_SEQUENTIAL {
        let start = Instant::now();
        once(&mut stream, &mut buffer).await;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    (took[N_SEQUENTIAL / 2].as_micros(), took[N_SEQUENTIAL * 99 / 100].as_micros())
}

async fn rate(port: u16) -> usize {
    let clients = (0..N_CONNECTIONS).map(|_| {
        tokio::spawn(async move {
            let (mut stream, mut buffer, start, mut n) = (connect(port).await, [0; 4096], Instant::now(), 0);
            while start.elapsed() < RUN {
                once(&mut stream, &mut buffer).await;
                n += 1;
            }
            n
        })
    });
    let mut total = 0;
    for client in clients.collect::<Vec<_>>() {
        total += client.await.unwrap();
    }
    total / usize::try_from(RUN.as_secs()).unwrap()
}

async fn download(port: u16) -> u128 {
    let mut stream = connect(port).await;
    let start = Instant::now();
    stream.write_all(b"GET /big HTTP/1.1\r\nhost: 8000-iabc.test\r\n\r\n").await.unwrap();
    let (mut got, mut buffer) = (0, vec![0; 1 << 18]);
    while got < BIG {
        got += stream.read(&mut buffer).await.unwrap();
    }
    (BIG as u128 * 1_000 / (1 << 20)) / start.elapsed().as_millis().max(1)
}

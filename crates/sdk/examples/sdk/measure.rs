//! What the library costs: a call beside the same request written by hand, and
//! taking a warm sandbox from a pool. Prints medians for people and every value,
//! in nanoseconds, for the bench; judges nothing.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use warren_sdk::{Config, PoolOptions, Sandbox, SandboxPool};

const ROUNDS: usize = 400;

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let sandbox = Sandbox::create(config).await?.scoped();
    let host = config.api_url.strip_prefix("http://").ok_or("measured over plain HTTP only")?;
    let mut socket = TcpStream::connect(host).await?;
    socket.set_nodelay(true)?;
    let request = format!(
        "GET /sandboxes/{} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {}\r\n\r\n",
        sandbox.id(),
        config.api_key
    );
    let (mut by_hand, mut by_library) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // In turns, so that whatever else this machine does falls on both.
        let start = Instant::now();
        raw(&mut socket, request.as_bytes()).await?;
        let middle = Instant::now();
        sandbox.info().await?;
        if round >= ROUNDS / 10 {
            by_hand.push(middle - start);
            by_library.push(middle.elapsed());
        }
    }
    show("by hand", &by_hand);
    show("by library", &by_library);
    let (by_hand, by_library) = (median(by_hand), median(by_library));
    let overhead = (by_library.as_secs_f64() / by_hand.as_secs_f64() - 1.0) * 100.0;
    println!("info: by hand {by_hand:?}, by the library {by_library:?}: {overhead:+.1} %");
    sandbox.close().await?;

    let options = PoolOptions { min: 1, max: 1, reuse: true, ..PoolOptions::default() };
    let pool = SandboxPool::start(config, options)?;
    pool.ready().await;
    let mut acquired = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        drop(pool.acquire().await?);
        acquired.push(start.elapsed());
    }
    show("acquire", &acquired);
    println!("acquire of a warm member: {:?}", median(acquired));
    pool.close().await;
    Ok(())
}

/// Sends a request and reads its whole answer.
async fn raw(socket: &mut TcpStream, request: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    socket.write_all(request).await?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        socket.read_buf(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).ok_or("an answer of unknown length")?;
        let length: usize = length.lines().next().unwrap_or_default().parse()?;
        if body.len() >= length {
            // The library reads the JSON too.
            serde_json::from_str::<serde_json::Value>(body)?;
            return Ok(());
        }
    }
}

fn show(name: &str, times: &[Duration]) {
    let values: Vec<String> = times.iter().map(|time| time.as_nanos().to_string()).collect();
    println!("values of {name}: {}", values.join(" "));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

//! The name service of the sandboxes: carries their questions to the host's own
//! name servers and the answers back, without a cache and without an opinion.
//!
//! Everything is bounded: questions per sandbox and second, questions under way
//! per sandbox and in all, connections, sizes, and every wait. What exceeds a
//! bound or finds no answer gets `SERVFAIL`, so that nothing inside hangs.

mod limits;
mod message;
mod upstream;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::limits::Limits;
use self::upstream::Upstream;
use super::config::NetworkConfig;
use super::plan::Plan;
use super::rules::DnsPorts;

/// Longest question: names have 255 bytes, options some more.
const LONGEST_QUESTION: usize = 4096;
/// How long a connection may stay silent.
const IDLE: Duration = Duration::from_secs(10);
/// Pause after the kernel refused to hand out a connection (no descriptors left).
const BREATH: Duration = Duration::from_millis(100);

/// Bound to its addresses, not yet answering.
#[derive(Debug)]
pub(super) struct Service {
    udp: UdpSocket,
    tcp: TcpListener,
    ports: DnsPorts,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    limits: Limits,
    upstream: Upstream,
}

impl Service {
    /// Takes any free ports of the host's own address in the range; the rules
    /// lead port 53 of the gateway there. So it cannot collide with a name server
    /// that the host runs.
    pub(super) async fn bind(plan: Plan, config: &NetworkConfig) -> io::Result<Self> {
        let udp = UdpSocket::bind((plan.service(), 0)).await?;
        let tcp = TcpListener::bind((plan.service(), 0)).await?;
        let ports = DnsPorts { udp: udp.local_addr()?.port(), tcp: tcp.local_addr()?.port() };
        let upstream = Upstream::new(config.resolvers.clone(), config.resolv_conf.clone());
        let shared = Arc::new(Shared { plan, limits: Limits::default(), upstream });
        Ok(Self { udp, tcp, ports, shared })
    }

    pub(super) fn ports(&self) -> DnsPorts {
        self.ports
    }

    /// Answers until `stop`.
    pub(super) fn run(self, tasks: &TaskTracker, stop: &CancellationToken) {
        let Self { udp, tcp, shared, .. } = self;
        tasks.spawn(stop.clone().run_until_cancelled_owned(serve_udp(
            Arc::new(udp),
            shared.clone(),
            tasks.clone(),
            stop.clone(),
        )));
        tasks.spawn(stop.clone().run_until_cancelled_owned(serve_tcp(
            tcp,
            shared,
            tasks.clone(),
            stop.clone(),
        )));
    }
}

impl Shared {
    /// The sandbox that a packet comes from. The rules let no other source
    /// through; this holds for the time before they are loaded, too.
    fn client(&self, from: SocketAddr) -> Option<Ipv4Addr> {
        match from.ip() {
            IpAddr::V4(address) if self.plan.is_slot(address) => Some(address),
            _ => None,
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>, tasks: TaskTracker, stop: CancellationToken) {
    let mut buffer = vec![0_u8; LONGEST_QUESTION];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
        let (Some(client), Some(failure)) = (shared.client(from), message::servfail(&buffer[..len])) else {
            continue;
        };
        let Some(permit) = shared.limits.admit(client) else {
            // Never waits: an answer that finds no room is one that got lost.
            let _ = socket.try_send_to(&failure, from);
            continue;
        };
        let (question, socket, shared) = (buffer[..len].to_vec(), socket.clone(), shared.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            let answer = shared.upstream.ask_udp(&question).await.unwrap_or(failure);
            let _ = socket.try_send_to(&answer, from);
            drop(permit);
        }));
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        // A connection counts as one question under way for as long as it lasts.
        let Some(client) = shared.client(from) else { continue };
        let Some(permit) = shared.limits.admit(client) else { continue };
        let shared = shared.clone();
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            // A sandbox that breaks its own connection is no news.
            let _ = converse(stream, &shared, client).await;
            drop(permit);
        }));
    }
}

/// Answers the questions of one connection, one after another.
async fn converse(mut stream: TcpStream, shared: &Shared, client: Ipv4Addr) -> io::Result<()> {
    loop {
        let question = timeout(IDLE, read_message(&mut stream, LONGEST_QUESTION)).await??;
        let Some(failure) = message::servfail(&question) else { return Ok(()) };
        let answer = if shared.limits.may_ask(client) {
            shared.upstream.ask_tcp(&question).await.unwrap_or(failure)
        } else {
            failure
        };
        timeout(IDLE, write_message(&mut stream, &answer)).await??;
    }
}

/// Reads a message with its length before it.
async fn read_message(stream: &mut TcpStream, longest: usize) -> io::Result<Vec<u8>> {
    let len = usize::from(stream.read_u16().await?);
    if len > longest {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length before it, in one piece.
async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&len.to_be_bytes()[..], message].concat()).await
}

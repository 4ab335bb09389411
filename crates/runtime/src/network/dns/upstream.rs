//! The host's name servers, asked one after another.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{message, read_message, write_message};

/// How long one server may take; inside, resolvers usually ask again after five seconds.
const PATIENCE: Duration = Duration::from_millis(2200);
/// How many servers are asked, as the system's own resolver does.
const SERVERS: usize = 3;
/// How often the list is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A list of name servers that is longer is none.
const LONGEST_LIST: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Upstream {
    fixed: Option<Vec<SocketAddr>>,
    resolv_conf: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    servers: Vec<SocketAddr>,
    looked: Option<Instant>,
    changed: Option<SystemTime>,
}

impl Upstream {
    pub(super) fn new(fixed: Option<Vec<SocketAddr>>, resolv_conf: PathBuf) -> Self {
        Self { fixed, resolv_conf, known: Mutex::default() }
    }

    /// The first server's answer to a question; `None` when none gave one.
    pub(super) async fn ask_udp(&self, question: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers() {
            if let Ok(Ok(answer)) = timeout(PATIENCE, ask_udp(server, question)).await {
                return Some(answer);
            }
        }
        None
    }

    /// The same over a connection, for answers that fit in no packet.
    pub(super) async fn ask_tcp(&self, question: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers() {
            if let Ok(Ok(answer)) = timeout(PATIENCE, ask_tcp(server, question)).await {
                return Some(answer);
            }
        }
        None
    }

    /// The servers as of now. Reads the list again when the file changed; a file
    /// that cannot be read keeps the last list.
    fn servers(&self) -> Vec<SocketAddr> {
        if let Some(fixed) = &self.fixed {
            return fixed.clone();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|at| at.elapsed() > LOOK_AGAIN) {
            known.looked = Some(Instant::now());
            let meta = std::fs::metadata(&self.resolv_conf).ok().filter(|meta| meta.len() <= LONGEST_LIST);
            let changed = meta.and_then(|meta| meta.modified().ok());
            if changed.is_some()
                && changed != known.changed
                && let Ok(text) = std::fs::read_to_string(&self.resolv_conf)
            {
                known.servers = name_servers(&text);
                known.changed = changed;
            }
        }
        known.servers.clone()
    }
}

/// The `nameserver` lines of a `resolv.conf`.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        words.next()?.parse::<IpAddr>().ok()
    });
    addresses.map(|address| SocketAddr::new(address, 53)).take(SERVERS).collect()
}

/// A socket of its own for each question: the kernel picks another port each
/// time, which an attacker would have to guess.
async fn ask_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0_u8; usize::from(u16::MAX)];
    loop {
        let len = socket.recv(&mut buffer).await?;
        if message::answers(question, &buffer[..len]) {
            buffer.truncate(len);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, question).await?;
    let answer = read_message(&mut stream, usize::from(u16::MAX)).await?;
    if message::answers(question, &answer) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_found_among_other_lines() {
        let text = "# nameserver 9.9.9.9\nsearch lan\nnameserver 10.0.0.53\n nameserver\t::1 # x\n\
                    nameserver fe80::1%eth0\nnameservers 1.1.1.1\nnameserver 1.2.3.4\nnameserver 1.2.3.5";
        let found: Vec<_> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.53:53", "[::1]:53", "1.2.3.4:53"]);
    }

    #[test]
    fn the_list_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let upstream = Upstream::new(None, path.clone());
        assert_eq!(upstream.servers(), []);
        std::fs::write(&path, "nameserver 192.0.2.1").unwrap();
        upstream.known.lock().unwrap().looked = None;
        assert_eq!(upstream.servers(), ["192.0.2.1:53".parse().unwrap()]);
        std::fs::remove_file(&path).unwrap();
        upstream.known.lock().unwrap().looked = None;
        assert_eq!(upstream.servers().len(), 1, "the last list is kept");
    }
}

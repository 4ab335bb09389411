//! TCP connections whose other end is not in the network namespace.
//!
//! After a restore they are connections to peers that know nothing of the copy:
//! they are ended as if reset, so that programs see an error and not silence.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::family;
use super::message::{Batch, DUMP, Needed};
use super::socket::{Error, Socket};

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` (`linux/sock_diag.h`).
const DIAG: u16 = 20;
const DESTROY: u16 = 21;
const TCP: u8 = 6;

/// States with a peer: all but listening, closed, and waiting for time to pass.
const CONNECTED: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;

/// `inet_diag_sockid`: the part of a description that names a socket.
const ID_LEN: usize = 48;

/// One connected socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Connection {
    family: u8,
    state: u8,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    /// As the kernel wrote it, to name the socket again.
    id: [u8; ID_LEN],
}

/// Ends every TCP connection of the calling thread's network namespace whose
/// peer is not in it; says how many there were. Needs `CAP_NET_ADMIN` there.
pub fn cut_strays() -> Result<usize, Error> {
    let socket = Socket::of_sockets()?;
    let mut all = Vec::new();
    for family in [family::INET, family::INET6] {
        let mut batch = Batch::default();
        batch.push("listing connections", Needed::Yes, DIAG, DUMP, |b| {
            b.raw(&request(family, &[0; ID_LEN]));
        });
        socket.run(&batch, |answer| all.extend(connection(answer.body)))?;
    }
    let strays = strays(&all);
    // The batch counts its messages in the kernel's answers: not too many at once.
    for some in strays.chunks(64) {
        let mut batch = Batch::default();
        for stray in some {
            // One that ended meanwhile is as good.
            batch.push("ending a connection", Needed::IfPossible, DESTROY, 0, |b| {
                b.raw(&request(stray.family, &stray.id));
            });
        }
        socket.run(&batch, |_| ())?;
    }
    Ok(strays.len())
}

/// Those without a counterpart. One on loopback that was told of its peer's end
/// already is left to read what is there.
fn strays(all: &[Connection]) -> Vec<&Connection> {
    let ends: HashSet<_> = all.iter().map(|c| (c.local, c.remote)).collect();
    let over = |c: &Connection| c.remote.0.is_loopback() && matches!(c.state, CLOSE_WAIT | LAST_ACK);
    all.iter().filter(|c| !ends.contains(&(c.remote, c.local)) && !over(c)).collect()
}

/// `inet_diag_req_v2`.
fn request(family: u8, id: &[u8; ID_LEN]) -> Vec<u8> {
    let mut bytes = vec![family, TCP, 0, 0];
    bytes.extend_from_slice(&CONNECTED.to_ne_bytes());
    bytes.extend_from_slice(id);
    bytes
}

/// Reads an `inet_diag_msg`.
fn connection(body: &[u8]) -> Option<Connection> {
    let (family, state) = (*body.first()?, *body.get(1)?);
    let id: [u8; ID_LEN] = body.get(4..4 + ID_LEN)?.try_into().ok()?;
    let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
    let address = |at: usize| -> IpAddr {
        let bytes: [u8; 16] = std::array::from_fn(|i| id[at + i]);
        match family {
            family::INET6 => Ipv6Addr::from(bytes).to_canonical(),
            _ => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        }
    };
    Some(Connection { family, state, local: (address(4), port(0)), remote: (address(20), port(2)), id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(local: &str, remote: &str, state: u8) -> Connection {
        let end = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            (address.ip().to_canonical(), address.port())
        };
        Connection { family: family::INET, state, local: end(local), remote: end(remote), id: [0; ID_LEN] }
    }

    #[test]
    fn pairs_stay_and_halves_go() {
        let pair =
            [at("127.0.0.1:1", "127.0.0.1:2", 1), at("[::ffff:127.0.0.1]:2", "[::ffff:127.0.0.1]:1", 1)];
        let half = at("127.0.0.1:3", "127.0.0.1:4", 1);
        let over = at("127.0.0.1:5", "127.0.0.1:6", CLOSE_WAIT);
        let outside = at("10.0.0.2:7", "9.9.9.9:443", CLOSE_WAIT);
        let all = [&pair[..], &[half.clone(), over, outside.clone()]].concat();
        assert_eq!(strays(&all), [&half, &outside]);
    }

    #[test]
    fn a_connection_of_the_kernel_is_read_and_ended() {
        use std::io::Read as _;
        // The name is the test's, for what is skipped on it.
        let name = std::thread::current().name().unwrap_or("inside").to_owned();
        let inside = std::thread::Builder::new().name(name).spawn(|| {
            if crate::namespace::new_network_namespace().is_err() {
                return crate::skip::skip("a network namespace needs root");
            }
            super::super::set_link_up(1).unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut kept = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (other, _) = listener.accept().unwrap();
            assert_eq!(cut_strays().unwrap(), 0);
            drop(other);
            assert_eq!(kept.read(&mut [0; 1]).unwrap(), 0);
        });
        inside.unwrap().join().unwrap();
    }
}

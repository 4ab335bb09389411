//! Opens the ports: the main ones or nothing, the debug ones if they are free.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpListener;
use wire::control::{ENVD_PORT, INTERPRETER_PORT};

/// Opens every address. One of a family that this machine does not have is left
/// out, as long as another is there.
pub(crate) async fn main_ports(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let mut open = Vec::with_capacity(addresses.len());
    let mut absent = Vec::new();
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => open.push(listener),
            Err(error) if is_absent(error.kind()) => absent.push(*address),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return Err(error).with_context(|| {
                    format!("{address} is taken (by another server?): end that one, or choose with --listen")
                });
            }
            Err(error) => return Err(error).with_context(|| format!("listen on {address}")),
        }
    }
    if open.is_empty() {
        bail!("none of {absent:?} is an address of this machine");
    }
    if !absent.is_empty() {
        tracing::info!(?absent, "not listening on addresses that this machine does not have");
    }
    Ok(open)
}

/// Opens the debug ports on loopback, each with the port inside that it leads to.
/// One that is taken is left out with a warning: only `E2B_DEBUG` needs it.
pub(crate) async fn debug_ports() -> Vec<(u16, TcpListener)> {
    let mut open = Vec::new();
    for port in [ENVD_PORT, INTERPRETER_PORT] {
        for address in
            [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]
        {
            match TcpListener::bind(address).await {
                Ok(listener) => open.push((port, listener)),
                Err(error) if is_absent(error.kind()) => {}
                Err(error) => {
                    tracing::warn!(%address, %error, "a debug port cannot be opened; E2B_DEBUG=true will not work there");
                }
            }
        }
    }
    open
}

/// Opens the ports of what the main ports serve, too. One that is taken, most
/// often by somebody's development server, is left out with a warning.
pub(crate) async fn extra_ports(addresses: &[SocketAddr], what: &str) -> Vec<TcpListener> {
    let mut open = Vec::with_capacity(addresses.len());
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => open.push(listener),
            Err(error) if is_absent(error.kind()) => {}
            Err(error) => {
                tracing::warn!(%address, %error, "{what} not served here, only on the main listener");
            }
        }
    }
    open
}

/// Whether the machine lacks the address, or its whole family.
fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::AddrNotAvailable | ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::main_ports;

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_way_out() {
        let held = main_ports(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let address = held[0].local_addr().unwrap();
        let error = main_ports(&[address]).await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--listen"), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_left_out() {
        let both = ["127.0.0.1:0".parse().unwrap(), "192.0.2.1:0".parse().unwrap()];
        assert_eq!(main_ports(&both).await.unwrap().len(), 1);
        assert!(main_ports(&both[1..]).await.is_err());
    }
}

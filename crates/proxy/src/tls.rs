//! TLS at the listeners: one port speaks it and, where that is allowed, plain HTTP.
//!
//! The first byte tells them apart: a TLS connection begins with a handshake
//! record, a request with a letter. A client that speaks HTTP/2 without TLS says
//! so with its first bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::ResolvesServerCert;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::client::Stream;

/// The type of the record that every TLS connection begins with.
const HANDSHAKE: u8 = 22;

/// What HTTP/2 without TLS begins with: kept free of methods for that.
const PREFACE: &[u8] = b"PRI ";

/// A look at what came does not wait for more of it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// In the order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a listener needs to speak TLS. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    plain_everywhere: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("plain_everywhere", &self.plain_everywhere).finish_non_exhaustive()
    }
}

/// What a new connection speaks.
pub(crate) enum Opened {
    Http1(Stream),
    Http2(Stream),
    /// Plain HTTP where only TLS is served.
    Refused(Stream),
}

impl Tls {
    /// TLS 1.2 and 1.3 with the certificates of `resolver`, HTTP/2 and HTTP/1.1.
    /// Plain HTTP is served on loopback, and elsewhere only if `plain_everywhere`.
    pub fn new(resolver: Arc<dyn ResolvesServerCert>, plain_everywhere: bool) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), plain_everywhere })
    }

    async fn accept(&self, stream: TcpStream) -> io::Result<Opened> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0] != HANDSHAKE {
            let served = self.plain_everywhere || stream.local_addr()?.ip().to_canonical().is_loopback();
            return if served { plain(stream).await } else { Ok(Opened::Refused(Stream::Plain(stream))) };
        }
        let stream = self.acceptor.accept(stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(PROTOCOLS[0]);
        let stream = Stream::Tls(Box::new(stream));
        Ok(if is_http2 { Opened::Http2(stream) } else { Opened::Http1(stream) })
    }
}

/// Finds out what a new connection speaks, and shakes hands.
pub(crate) async fn open(tls: Option<&Tls>, stream: TcpStream) -> io::Result<Opened> {
    match tls {
        Some(tls) => tls.accept(stream).await,
        None => plain(stream).await,
    }
}

/// Tells the versions apart. The first bytes mostly come together, and one that
/// does not fit is enough.
async fn plain(stream: TcpStream) -> io::Result<Opened> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 || first[..seen] != PREFACE[..seen] {
            return Ok(Opened::Http1(Stream::Plain(stream)));
        }
        if seen == PREFACE.len() {
            return Ok(Opened::Http2(Stream::Plain(stream)));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

//! What the proxy asks of the rest of the system: where a sandbox is, whose
//! signature this is, and to wake one that sleeps.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use model::SandboxId;
use tokio::io::{AsyncRead, AsyncWrite};
use wire::files::SignedUrl;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes to and from a port inside.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + Debug> Connection for T {}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing listens on the port.
    #[error("port {0} is closed")]
    Closed(u16),
    /// The sandbox is gone.
    #[error("the sandbox is gone")]
    Gone,
    /// Anything else.
    #[error("dialling port {port}")]
    Io {
        /// The port.
        port: u16,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Opens connections into one sandbox.
pub trait Dial: Send + Sync + Debug {
    /// One attempt to reach a TCP port inside.
    fn dial(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>>;
}

/// How to reach one running sandbox.
#[derive(Debug, Clone)]
pub struct Route {
    /// Whose route.
    pub sandbox_id: SandboxId,
    /// Changes whenever the machine behind the id does; pooled connections of
    /// another generation are never reused.
    pub generation: u64,
    /// Opens connections.
    pub dial: Arc<dyn Dial>,
    /// Completes when the sandbox ends: every client connection to it is reset then.
    pub ended: tokio_util::sync::CancellationToken,
}

/// What is known of a sandbox id.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// It runs.
    Running(Route),
    /// It sleeps; [`Resolve::wake`] may wake it.
    Asleep,
    /// It sleeps, and what came along does not entitle to wake it.
    WakeDenied,
    /// It sleeps, and its team has as many running as it may.
    WakeLimit,
    /// It is on its way to sleep or back, for longer than a request can wait.
    Moving,
    /// Unknown, ended, or paused without auto-resume. The text, if any, says
    /// when and why it ended, for the error message.
    NotFound(Option<String>),
}

/// Finds the route of a sandbox. A memory lookup for running ones; only waking
/// a paused one may take time.
pub trait Resolve: Send + Sync + Debug + 'static {
    /// Looks the id up.
    fn resolve<'a>(&'a self, sandbox_id: &'a SandboxId) -> BoxFuture<'a, Lookup>;

    /// The sandbox whose token made this signature. A memory lookup.
    fn signer(&self, url: &SignedUrl) -> Option<SandboxId>;

    /// Wakes one that sleeps, for a request to a port that came with this token
    /// for the daemon. By default nothing is ever woken.
    fn wake<'a>(
        &'a self,
        _sandbox_id: &'a SandboxId,
        _port: u16,
        _access_token: Option<&'a str>,
    ) -> BoxFuture<'a, Lookup> {
        Box::pin(std::future::ready(Lookup::NotFound(None)))
    }
}

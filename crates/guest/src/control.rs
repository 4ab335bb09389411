//! The host's socket: `POST /init`, `POST /rest`, `GET /status` and `GET /logs`.
//!
//! An abstract Unix socket in the sandbox's network namespace. Whoever is inside
//! can dial it too, so each peer's credentials are looked at: a process outside
//! of our pid namespace has no id in it, and reads as 0.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::rc::Rc;

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use wire::control::{ENVD_VERSION, Init, Status};

use crate::daemon::Daemon;
use crate::http::error::json;
use crate::http::server::{Connections, connection};
use crate::http::{HttpFailure, Request, Response};
use crate::init;
use crate::interpret::Interpreter;

/// Longest `/init` body: variables of a template and of its sandbox, escaped, and a
/// bundle of certificates.
const MAX_BODY: usize = 16 << 20;

/// Opens the socket.
pub(crate) fn listen(name: &str) -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Serves the host until the socket fails.
pub(crate) async fn serve(listener: UnixListener, daemon: Rc<Daemon>) -> io::Result<()> {
    let limit = Connections::new(daemon.options.bounds.connections);
    loop {
        let (stream, _) = listener.accept().await?;
        if !trusted(&stream, &daemon) {
            continue;
        }
        let permit = limit.acquire().await;
        let daemon = Rc::clone(&daemon);
        spawn_local(connection(stream, async move |request| answer(&daemon, request).await, permit));
    }
}

fn trusted(stream: &UnixStream, daemon: &Daemon) -> bool {
    // `pid` is absent where the kernel says 0: not a process of this namespace.
    daemon.options.trust_local_control
        || stream.peer_cred().is_ok_and(|peer| peer.pid().is_none_or(|pid| pid == 0))
}

async fn answer(daemon: &Rc<Daemon>, request: Request) -> Response {
    if request.method() == Method::GET && request.uri().path() == "/logs" {
        return json(&daemon.journal.page(first_wanted(request.uri().query())));
    }
    let result = match (request.method(), request.uri().path()) {
        (&Method::POST, "/init") => take_init(daemon, request).await,
        (&Method::POST, "/rest") => {
            if let Some(interpreter) = daemon.interpreter.get() {
                interpreter.rest().await;
            }
            Ok(())
        }
        (&Method::GET, "/status") => Ok(()),
        _ => Err(HttpFailure::new(StatusCode::NOT_FOUND, "no such control request")),
    };
    match result {
        Ok(()) => json(&status(daemon)),
        Err(failure) => failure.into_response(),
    }
}

async fn take_init(daemon: &Rc<Daemon>, request: Request) -> Result<(), HttpFailure> {
    let bad = |error: &dyn std::fmt::Display| HttpFailure::new(StatusCode::BAD_REQUEST, error.to_string());
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await.map_err(|e| bad(&e))?.to_bytes();
    let init: Init =
        if body.is_empty() { Init::default() } else { serde_json::from_slice(&body).map_err(|e| bad(&e))? };
    init::apply(daemon, &init).map_err(|error| {
        HttpFailure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to apply init: {error}"))
    })
}

/// `from=N`; everything without.
fn first_wanted(query: Option<&str>) -> u64 {
    let from = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("from=")));
    from.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn status(daemon: &Daemon) -> Status {
    let interpreter_ready = daemon.interpreter.get().map(Interpreter::is_ready);
    let oom_victims = daemon.reaper.oom().victims();
    Status { envd_version: ENVD_VERSION.to_owned(), interpreter_ready, oom_victims }
}

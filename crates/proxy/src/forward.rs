//! The walk of one request into a sandbox and of its answer back.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use model::SandboxId;
use tokio_util::task::TaskTracker;

use crate::body::{Body, FromSandbox};
use crate::client::Traffic;
use crate::options::ProxyOptions;
use crate::reply::{self, Refusal};
use crate::upstream::{Lease, Upstreams};
use crate::{Lookup, Resolve, headers, internal};

/// How long after an upstream broke we wait to learn that the sandbox ended:
/// its processes die a moment before its end is announced.
const END_NEWS: std::time::Duration = std::time::Duration::from_millis(100);

/// What the daemon's clients show it.
const ACCESS_TOKEN: &str = "x-access-token";

/// What every request needs. Shared by all listeners.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pub(crate) options: ProxyOptions,
    pub(crate) resolve: Arc<dyn Resolve>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) tasks: TaskTracker,
}

impl Forwarder {
    /// Answers a request for a port of a sandbox, one way or the other.
    pub(crate) async fn answer<F>(
        &self,
        request: Request<Incoming>,
        sandbox_id: &SandboxId,
        port: u16,
        traffic: &Arc<Traffic>,
    ) -> Response<Body<F>> {
        let browser = reply::is_browser(request.headers());
        match self.forward(request, sandbox_id, port, traffic).await {
            Ok(response) => response,
            Err(refusal) => {
                self.options.counts.note_refusal(&refusal);
                traffic.end();
                refusal.response(sandbox_id, port, browser).map(|body| Body::Own(Full::new(body)))
            }
        }
    }

    async fn forward<F>(
        &self,
        mut request: Request<Incoming>,
        sandbox_id: &SandboxId,
        port: u16,
        traffic: &Arc<Traffic>,
    ) -> Result<Response<Body<F>>, Refusal> {
        if internal::is_internal(port, request.uri().path()) {
            return Err(Refusal::Internal(request.uri().path().to_owned()));
        }
        let mut lease = self.lease(sandbox_id, port, request.headers()).await?;
        let client = headers::wants_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        headers::to_sandbox(&mut head, client.is_some());
        let ended = lease.upstream.route().ended.clone();
        let request = Request::from_parts(head, body);
        let exchange = self.exchange(&mut lease, request, traffic);
        let response = ended.run_until_cancelled(exchange).await.unwrap_or(Err(Refusal::NotFound(None)))?;
        self.options.counts.note_carried();
        Ok(self.deliver(response, client, lease, traffic))
    }

    /// Finds the sandbox and claims a place in it.
    async fn lease(&self, sandbox_id: &SandboxId, port: u16, headers: &HeaderMap) -> Result<Lease, Refusal> {
        let looking = async {
            match self.resolve.resolve(sandbox_id).await {
                Lookup::Asleep => {
                    let token = headers.get(ACCESS_TOKEN).and_then(|token| token.to_str().ok());
                    self.resolve.wake(sandbox_id, port, token).await
                }
                found => found,
            }
        };
        let lookup = tokio::time::timeout(self.options.resolve_timeout, looking)
            .await
            .map_err(|_| Refusal::Transitioning)?;
        let route = match lookup {
            Lookup::Running(route) if route.ended.is_cancelled() => return Err(Refusal::NotFound(None)),
            Lookup::Running(route) => route,
            Lookup::NotFound(why) => return Err(Refusal::NotFound(why)),
            // Woken, and asleep again before we looked.
            Lookup::Asleep => return Err(Refusal::NotFound(None)),
            Lookup::WakeDenied => return Err(Refusal::WakeDenied),
            Lookup::WakeLimit => return Err(Refusal::WakeLimit),
            Lookup::Moving => return Err(Refusal::Transitioning),
        };
        self.upstreams.of(route, &self.tasks).lease(port, self.options.max_per_sandbox)
    }

    /// Sends the request and waits for the answer's head. A pooled connection
    /// that was closed meanwhile hands the request back, and a new one is dialled.
    async fn exchange(
        &self,
        lease: &mut Lease,
        mut request: Request<Incoming>,
        traffic: &Traffic,
    ) -> Result<Response<Incoming>, Refusal> {
        let ended = lease.upstream.route().ended.clone();
        let mut may_reuse = true;
        loop {
            let (sender, reused) = lease.connect(&self.options, &self.tasks, may_reuse).await?;
            traffic.begin(&ended);
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            match error.take_message() {
                Some(unsent) if reused => request = unsent,
                _ => {
                    tracing::debug!(error = %error.error(), "no answer from a sandbox");
                    let _: Result<(), _> = tokio::time::timeout(END_NEWS, ended.cancelled()).await;
                    return Err(Refusal::NoAnswer);
                }
            }
            may_reuse = false;
        }
    }

    /// Hands the answer to the client; a switch of protocols becomes a tunnel.
    fn deliver<F>(
        &self,
        mut response: Response<Incoming>,
        client: Option<OnUpgrade>,
        lease: Lease,
        traffic: &Arc<Traffic>,
    ) -> Response<Body<F>> {
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let sandbox = switching.then(|| hyper::upgrade::on(&mut response));
        let (mut head, incoming) = response.into_parts();
        headers::to_client(&mut head, switching);
        match (client, sandbox) {
            (Some(client), Some(sandbox)) => {
                self.options.counts.note_tunnel();
                self.tasks.spawn(crate::tunnel::carry(client, sandbox, lease, Arc::clone(traffic)));
                Response::from_parts(head, Body::Own(Full::new(Bytes::new())))
            }
            // A switch that nobody asked for is a broken answer.
            (None, Some(_)) => {
                let refusal = Refusal::NoAnswer;
                traffic.end();
                let (id, port) = (&lease.upstream.route().sandbox_id, lease.port());
                refusal.response(id, port, false).map(|body| Body::Own(Full::new(body)))
            }
            (_, None) => {
                let body = FromSandbox::new(incoming, lease, Arc::clone(traffic));
                Response::from_parts(head, Body::Sandbox(body))
            }
        }
    }
}

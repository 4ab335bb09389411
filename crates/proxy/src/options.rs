//! What can be set about the proxy.

use std::sync::Arc;
use std::time::Duration;

use crate::{Counts, Hosts, Tls};

/// Settings of a [`Proxy`](crate::Proxy).
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// TLS on every listener, beside plain HTTP on loopback.
    pub tls: Option<Tls>,
    /// Host names that share one origin among sandboxes and API.
    pub hosts: Hosts,
    /// Client connections at once, over all listeners; more wait to be accepted.
    pub max_connections: usize,
    /// Requests and tunnels at once to one sandbox; more are answered 429.
    pub max_per_sandbox: usize,
    /// How long a new connection may take to send the head of its first request.
    pub first_head_timeout: Duration,
    /// How long a client's connection may rest between requests. Longer than
    /// any client keeps one in its pool (300 s), so that it never meets a
    /// connection that is just being closed.
    pub idle_timeout: Duration,
    /// How long one attempt to reach a port may take.
    pub dial_timeout: Duration,
    /// How long waking a paused sandbox may take.
    pub resolve_timeout: Duration,
    /// How long a shutdown waits for requests that still run.
    pub drain_timeout: Duration,
    /// Where what passes is counted.
    pub counts: Arc<Counts>,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            tls: None,
            hosts: Hosts::default(),
            max_connections: 8_192,
            max_per_sandbox: 1_024,
            first_head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(640),
            dial_timeout: Duration::from_secs(10),
            resolve_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(5),
            counts: Arc::default(),
        }
    }
}

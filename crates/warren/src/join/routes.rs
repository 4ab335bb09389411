//! The proxy's question "where is this sandbox?", answered from the node's memory.

use std::fmt;
use std::sync::Arc;

use control::{App, Knock, Woken};
use model::SandboxId;
use node::{Ended, Handle, Phase, Reach};
use proxy::{BoxFuture, Connection, Dial, DialError, Lookup, Resolve, Route};

use wire::files::SignedUrl;

use super::DEBUG_ID;

/// Routes of every sandbox on this node but the debug one: that has no token
/// and is for this machine's own ports alone.
#[derive(Debug)]
pub(crate) struct Routes {
    node: Handle,
    app: App,
}

impl Routes {
    pub(crate) fn new(node: Handle, app: App) -> Self {
        Self { node, app }
    }
}

impl Resolve for Routes {
    fn resolve<'a>(&'a self, sandbox_id: &'a SandboxId) -> BoxFuture<'a, Lookup> {
        let answer = if sandbox_id.as_str() == DEBUG_ID {
            Lookup::NotFound(None)
        } else {
            lookup(&self.node, sandbox_id)
        };
        Box::pin(std::future::ready(answer))
    }

    fn signer(&self, url: &SignedUrl) -> Option<SandboxId> {
        self.node.signer(url)
    }

    fn wake<'a>(
        &'a self,
        sandbox_id: &'a SandboxId,
        port: u16,
        access_token: Option<&'a str>,
    ) -> BoxFuture<'a, Lookup> {
        let for_daemon = port == wire::control::ENVD_PORT;
        Box::pin(async move {
            match self.app.knock(Knock { sandbox_id, for_daemon, access_token }).await {
                Woken::Up => lookup(&self.node, sandbox_id),
                Woken::No => Lookup::NotFound(None),
                Woken::Denied => Lookup::WakeDenied,
                Woken::Full => Lookup::WakeLimit,
                Woken::Moving => Lookup::Moving,
            }
        })
    }
}

/// The route of a running sandbox, or what became of it.
pub(super) fn lookup(node: &Handle, sandbox_id: &SandboxId) -> Lookup {
    match node.dialer(sandbox_id) {
        Some(reach) => Lookup::Running(route(sandbox_id.clone(), reach)),
        None if sleeps_lightly(node, sandbox_id) => Lookup::Asleep,
        None => Lookup::NotFound(node.ended(sandbox_id).map(|ended| story(&ended))),
    }
}

/// Whether traffic may wake it, or has begun to.
fn sleeps_lightly(node: &Handle, sandbox_id: &SandboxId) -> bool {
    let asleep = |phase| matches!(phase, Phase::Pausing | Phase::Paused | Phase::Resuming);
    node.get(sandbox_id).is_some_and(|seen| seen.policy.wakes_by_traffic && asleep(seen.phase))
}

fn route(sandbox_id: SandboxId, reach: Reach) -> Route {
    Route { sandbox_id, generation: reach.generation, dial: Arc::new(Inside(reach.dial)), ended: reach.ended }
}

/// What the record says, for a client's error message.
fn story(ended: &Ended) -> String {
    let lived = ended.started_at.map(|started| ended.ended_at.since(started));
    match lived {
        Some(lived) => format!("{}, {:.1} s after its start", ended.cause.sentence(), lived.as_secs_f64()),
        None => ended.cause.sentence().to_owned(),
    }
}

/// A machine's dialer under the proxy's trait.
struct Inside(Arc<dyn runtime::Dial>);

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Dial for Inside {
    fn dial(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Connection>, DialError>> {
        Box::pin(async move {
            match self.0.dial(port).await {
                Ok(connection) => Ok(Box::new(connection) as Box<dyn Connection>),
                Err(runtime::DialError::Refused(port)) => Err(DialError::Closed(port)),
                Err(runtime::DialError::Gone) => Err(DialError::Gone),
                Err(runtime::DialError::Io { port, source }) => Err(DialError::Io { port, source }),
            }
        })
    }
}

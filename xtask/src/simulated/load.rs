//! Hundreds of sandboxes, and a thousand calls about them at once: each is
//! answered, and rightly.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use crate::command::say;
use crate::http::{Answer, Connection};
use crate::server::Server;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Sandboxes that live meanwhile.
    pub(crate) sandboxes: usize,
    /// Clients that call at the same time, over a connection each.
    pub(crate) clients: usize,
    /// Calls of each, one after another.
    pub(crate) calls: usize,
}

/// The form that every test run includes.
pub(crate) const SHORT: Plan = Plan { sandboxes: 300, clients: 1_000, calls: 3 };
/// Long enough for everything that fills up slowly.
pub(crate) const LONG: Plan = Plan { sandboxes: 300, clients: 1_000, calls: 50 };

/// Makes the sandboxes, lets all clients call at once, and kills the sandboxes.
/// Gives how long each call took.
pub(crate) fn run(server: &Server, plan: Plan) -> anyhow::Result<Vec<Duration>> {
    let mut own = Caller::open(server)?;
    let ids = (0..plan.sandboxes).map(|_| own.create()).collect::<anyhow::Result<Vec<_>>>()?;
    let start = Barrier::new(plan.clients);
    let mut took = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients)
            .map(|number| {
                let (ids, start) = (&ids, &start);
                // A thousand of the usual size would be memory for nothing.
                let thread = std::thread::Builder::new().stack_size(256 * 1024);
                thread.spawn_scoped(scope, move || client(server, plan, number, ids, start))
            })
            .collect::<Result<_, _>>()
            .context("start the clients")?;
        let joined = clients.into_iter().map(|client| client.join().expect("a client does not panic"));
        joined.collect::<anyhow::Result<Vec<_>>>()
    })?
    .concat();
    took.sort_unstable();
    let (median, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    say(&format!(
        "{} calls from {} clients at once about {} sandboxes: p50 {:.1} ms, p99 {:.1} ms",
        took.len(),
        plan.clients,
        plan.sandboxes,
        median.as_secs_f64() * 1000.0,
        late.as_secs_f64() * 1000.0
    ));
    ids.iter().try_for_each(|id| own.ask("DELETE", &format!("/sandboxes/{id}"), "")?.ok())?;
    Ok(took)
}

fn client(
    server: &Server,
    plan: Plan,
    number: usize,
    ids: &[String],
    start: &Barrier,
) -> anyhow::Result<Vec<Duration>> {
    // Whoever cannot connect must not keep the others waiting for ever.
    let opened = Caller::open(server);
    start.wait();
    let mut caller = opened?;
    (0..plan.calls)
        .map(|call| {
            let began = Instant::now();
            let id = &ids[(number * plan.calls + call) % ids.len()];
            caller
                .one(number + call, id, ids.len())
                .with_context(|| format!("client {number}, call {call}"))?;
            Ok(began.elapsed())
        })
        .collect()
}

/// A connection of one's own with the key.
#[derive(Debug)]
pub(crate) struct Caller {
    connection: Connection,
    key: String,
}

impl Caller {
    pub(crate) fn open(server: &Server) -> anyhow::Result<Self> {
        Ok(Self { connection: server.connect()?, key: server.api_key.clone() })
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let headers = [("X-API-Key", self.key.as_str()), ("Content-Type", "application/json")];
        self.connection.request(method, path, &headers, body.as_bytes())
    }

    pub(crate) fn create(&mut self) -> anyhow::Result<String> {
        let body = json!({ "templateID": "base", "timeout": 3600 }).to_string();
        let answer = self.ask("POST", "/v2/sandboxes", &body)?.json()?;
        Ok(answer["sandboxID"].as_str().context("a create names its sandbox")?.to_owned())
    }

    /// A list, a look at one, or a new timeout; by turns.
    fn one(&mut self, turn: usize, id: &str, n_sandboxes: usize) -> anyhow::Result<()> {
        match turn % 3 {
            0 => {
                let page = self.ask("GET", "/v2/sandboxes?limit=100", "")?.json()?;
                let listed = page.as_array().map_or(0, Vec::len);
                anyhow::ensure!(listed == n_sandboxes.min(100), "{listed} sandboxes on a page");
            }
            1 => {
                let seen = self.ask("GET", &format!("/sandboxes/{id}"), "")?.json()?;
                anyhow::ensure!(seen["sandboxID"] == id && seen["state"] == "running", "{seen}");
            }
            _ => self.ask("POST", &format!("/sandboxes/{id}/timeout"), r#"{"timeout":1800}"#)?.ok()?,
        }
        Ok(())
    }
}

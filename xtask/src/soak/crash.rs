//! `kill -9` of the server at random moments, while clients create, run
//! commands and kill: whatever was answered holds afterwards, and nothing is
//! left behind.
//!
//! A client that was cut off knows nothing of its last call, and neither
//! outcome is wrong then. Everything else is checked after each restart: what
//! was made is there with its processes and files, what was killed is not.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use super::{Random, kill_all};
use crate::command::say;
use crate::http::Connection;
use crate::raw::Sandbox;
use crate::server::Server;

/// What one soak of crashes does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Crashes.
    pub(crate) rounds: u32,
    /// Repeats a run, as far as the machine lets it.
    pub(crate) seed: u64,
}

/// The form that every test run includes.
pub(crate) const SHORT: Plan = Plan { rounds: 10, seed: 1 };

/// Clients at a time.
const CLIENTS: u64 = 3;
/// A crash comes within this time from the first call of its round.
const ROUND_MS: u64 = 250;
/// Sandboxes that one client keeps at most.
const KEPT: usize = 6;

/// What one client was told.
#[derive(Debug, Default)]
struct Ledger {
    /// Created and not killed.
    alive: Vec<Alive>,
    /// Killed.
    dead: BTreeSet<String>,
    /// A kill that was not answered.
    unsure: BTreeSet<String>,
}

/// A sandbox that a client made, marked by a file and a process that stays.
#[derive(Debug)]
struct Alive {
    id: String,
    token: String,
    pid: Option<String>,
}

/// Crashes the server again and again. Its processes are others then, so what
/// it left behind on the host is counted when it has stopped.
pub(crate) fn run(server: &mut Server, plan: Plan) -> anyhow::Result<()> {
    let mut random = Random(plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let ledgers: Vec<Mutex<Ledger>> = (0..CLIENTS).map(|_| Mutex::default()).collect();
    let mut down = Duration::ZERO;
    for round in 0..plan.rounds {
        down = down.max(one(server, &mut random, &ledgers).with_context(|| format!("crash {round}"))?);
        for ledger in &ledgers {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            check(server, &mut ledger).with_context(|| format!("after crash {round}"))?;
        }
    }
    let made: usize =
        ledgers.iter().map(|one| one.lock().map_or(0, |one| one.dead.len() + one.alive.len())).sum();
    say(&format!(
        "{} crashes, {made} sandboxes answered for, the server back within {:.1} s.",
        plan.rounds,
        down.as_secs_f64()
    ));
    kill_all(server)
}

/// Clients call, the server is killed, and is back; how long that took.
fn one(server: &mut Server, random: &mut Random, ledgers: &[Mutex<Ledger>]) -> anyhow::Result<Duration> {
    let moment = Duration::from_millis(1 + random.below(ROUND_MS));
    let seeds: Vec<u64> = ledgers.iter().map(|_| random.below(u64::MAX) | 1).collect();
    let (address, key) = (server.address.clone(), server.api_key.clone());
    std::thread::scope(|scope| {
        let clients: Vec<_> = ledgers
            .iter()
            .zip(seeds)
            .map(|(ledger, seed)| {
                let (address, key) = (&address, &key);
                scope.spawn(move || {
                    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    call_until_cut(&mut ledger, address, key, Random(seed))
                })
            })
            .collect();
        std::thread::sleep(moment);
        let start = Instant::now();
        server.crash()?;
        let down = start.elapsed();
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))?;
        Ok(down)
    })
}

/// Calls until the server is gone. An error is an answer that must not be.
fn call_until_cut(ledger: &mut Ledger, address: &str, key: &str, mut random: Random) -> anyhow::Result<()> {
    loop {
        let act = random.below(4);
        let outcome = match act {
            0 | 1 if ledger.alive.len() < KEPT => create(ledger, address, key),
            2 if !ledger.alive.is_empty() => kill(ledger, address, key, &mut random),
            _ => command(ledger, address, key, &mut random),
        };
        match outcome {
            Ok(()) => {}
            Err(error) if is_cut(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Whether the connection is at fault, and not an answer.
fn is_cut(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    error.chain().any(<dyn std::error::Error>::is::<std::io::Error>)
        || text.contains("the connection was closed")
}

fn create(ledger: &mut Ledger, address: &str, key: &str) -> anyhow::Result<()> {
    let sandbox = Sandbox::create_over(Connection::open(address)?, key, "base", 600)?;
    let (id, token) = (sandbox.id.clone(), sandbox.token().to_owned());
    ledger.alive.push(Alive { id, token, pid: None });
    mark(ledger, sandbox)
}

/// Leaves a file, and a process that is to live as long as the sandbox.
fn mark(ledger: &mut Ledger, mut sandbox: Sandbox) -> anyhow::Result<()> {
    let line = format!("echo {} > mark; sync mark; (sleep 3000 >/dev/null 2>&1 & echo $!)", sandbox.id);
    let (code, output) = sandbox.run(&line, false)?;
    anyhow::ensure!(code == 0, "leaving a mark ended with {code}");
    if let Some(one) = ledger.alive.iter_mut().find(|one| one.id == sandbox.id) {
        one.pid = Some(String::from_utf8_lossy(&output).trim().to_owned());
    }
    Ok(())
}

fn kill(ledger: &mut Ledger, address: &str, key: &str, random: &mut Random) -> anyhow::Result<()> {
    let at = usize::try_from(random.below(ledger.alive.len() as u64)).unwrap_or_default();
    let id = ledger.alive.swap_remove(at).id;
    ledger.unsure.insert(id.clone());
    let path = format!("/sandboxes/{id}");
    Connection::open(address)?.request("DELETE", &path, &[("X-API-Key", key)], b"")?.ok()?;
    ledger.unsure.remove(&id);
    ledger.dead.insert(id);
    Ok(())
}

fn command(ledger: &mut Ledger, address: &str, key: &str, random: &mut Random) -> anyhow::Result<()> {
    let Some(last) = ledger.alive.len().checked_sub(1) else { return create(ledger, address, key) };
    let at = usize::try_from(random.below(last as u64 + 1)).unwrap_or_default();
    see(&ledger.alive[at], address, key)
}

/// Its mark is there, and so is its process.
fn see(one: &Alive, address: &str, key: &str) -> anyhow::Result<()> {
    let mut sandbox = Sandbox::known(Connection::open(address)?, key, &one.id, &one.token);
    let Some(pid) = &one.pid else { return sandbox.health() };
    let (code, output) = sandbox.run(&format!("kill -0 {pid} && cat mark"), false)?;
    let mark = String::from_utf8_lossy(&output);
    anyhow::ensure!(code == 0 && mark.trim() == one.id, "{}: exit {code}, mark {mark:?}", one.id);
    Ok(())
}

/// What was answered holds.
fn check(server: &Server, ledger: &mut Ledger) -> anyhow::Result<()> {
    let mut connection = server.connect()?;
    let mut status = |id: &str| {
        let key = [("X-API-Key", server.api_key.as_str())];
        Ok::<_, anyhow::Error>(connection.request("GET", &format!("/sandboxes/{id}"), &key, b"")?.status)
    };
    for one in &ledger.alive {
        anyhow::ensure!(status(&one.id)? == 200, "{} was answered for and is lost", json!(one.id));
        see(one, &server.address, &server.api_key).context("a sandbox is not what it was")?;
    }
    for id in &ledger.dead {
        anyhow::ensure!(status(id)? == 404, "{id} was killed and is back");
    }
    // A kill whose answer was cut off happened or did not; whole, either way.
    for id in std::mem::take(&mut ledger.unsure) {
        let seen = status(&id)?;
        anyhow::ensure!([200, 404].contains(&seen), "{id} is neither there nor gone: {seen}");
        if seen == 404 {
            ledger.dead.insert(id);
        }
    }
    Ok(())
}

//! Several clients at once at a few sandboxes, with calls that a seed draws: each answer is one
//! that some order of the calls allows, and when all is quiet, whatever tells of a sandbox tells
//! the same: itself, the list, its record, its events.
//!
//! Who called first is not known, but this is: what begins after a kill was answered finds
//! nothing, and what ends before anybody asked for a kill finds something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Random, descriptors, kill_all, wait_for};
use crate::census::Census;
use crate::command::say;
use crate::http::{Answer, Connection};
use crate::raw::Sandbox;
use crate::repo;
use crate::server::Server;

/// What one soak of races does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds, each with sandboxes of its own.
    pub(crate) rounds: u32,
    /// Repeats the calls; their order is the machine's.
    pub(crate) seed: u64,
}

/// The form that every test run includes.
pub(crate) const SHORT: Plan = Plan { rounds: 3, seed: 1 };

/// Clients at a time.
const CLIENTS: u64 = 4;
/// Calls of each client in a round.
const CALLS: u64 = 10;
/// Sandboxes that a round begins with,
const FIRST: usize = 2;
/// and that it has at most, children of forks included.
const MOST: usize = 5;
/// Until an answer: several pauses may stand before one.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Pause { memory: bool },
    Connect,
    Resume,
    Prolong,
    Snapshot,
    Fork,
    Look,
    List,
    Run,
    Kill,
}

/// How often each is drawn.
const DRAWN: [(u64, Deed); 11] = [
    (3, Deed::Pause { memory: true }),
    (2, Deed::Pause { memory: false }),
    (5, Deed::Connect),
    (2, Deed::Resume),
    (3, Deed::Prolong),
    (2, Deed::Snapshot),
    (1, Deed::Fork),
    (2, Deed::Look),
    (2, Deed::List),
    (5, Deed::Run),
    (1, Deed::Kill),
];

impl Deed {
    fn draw(random: &mut Random) -> Self {
        let mut at = random.below(DRAWN.iter().map(|(weight, _)| weight).sum());
        for (weight, deed) in DRAWN {
            match at.checked_sub(weight) {
                Some(left) => at = left,
                None => return deed,
            }
        }
        Self::Look
    }

    /// Method, what follows the sandbox's path, and the body.
    fn request(self) -> (&'static str, &'static str, Value) {
        match self {
            Self::Pause { memory } => ("POST", "/pause", json!({ "memory": memory })),
            Self::Connect => ("POST", "/connect", json!({ "timeout": 600 })),
            Self::Resume => ("POST", "/resume", json!({ "timeout": 600 })),
            Self::Prolong => ("POST", "/timeout", json!({ "timeout": 900 })),
            Self::Snapshot => ("POST", "/snapshots", json!({})),
            Self::Fork => ("POST", "/fork", json!({ "count": 1, "timeout": 600 })),
            Self::Look | Self::List | Self::Run => ("GET", "", json!({})),
            Self::Kill => ("DELETE", "", json!({})),
        }
    }

    /// What it may be answered of a sandbox that is there, awake, asleep or between the two.
    fn answers(self) -> &'static [u16] {
        match self {
            Self::Pause { .. } => &[204, 409],
            Self::Connect => &[200, 201, 409],
            Self::Resume | Self::Fork => &[201, 409],
            // Nobody can see these of one that sleeps.
            Self::Prolong => &[204, 404, 409],
            Self::Snapshot => &[201, 404, 409],
            Self::Look | Self::List | Self::Run => &[200],
            Self::Kill => &[204],
        }
    }
}

/// A sandbox that somebody was told of, with the file that it and its children have.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    token: String,
    mark: String,
}

/// What the clients of a round know together.
#[derive(Debug, Default)]
struct Told {
    all: Vec<Known>,
    /// A kill was asked for,
    doomed: BTreeSet<String>,
    /// and answered.
    dead: BTreeSet<String>,
    snapshots: Vec<String>,
    n_calls: BTreeMap<u16, u64>,
}

/// Whether a sandbox may be there, must be, or cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    There,
    Unsure,
    Gone,
}

/// Runs the rounds; the host, the server and its disk look as before.
pub(crate) fn run(server: &Server, plan: Plan) -> anyhow::Result<()> {
    // The first sandbox makes what the server keeps for good.
    Sandbox::create(server, "base", 60)?.kill()?;
    let (before, files, states) = (Census::take()?, descriptors(server)?, states()?);
    let mut answers = BTreeMap::<u16, u64>::new();
    for round in 0..plan.rounds {
        let seed = plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(round + 1);
        let told = one(server, seed).with_context(|| format!("round {round} of seed {}", plan.seed))?;
        for (status, n) in told {
            *answers.entry(status).or_default() += n;
        }
    }
    kill_all(server)?;
    before.settle()?;
    wait_for(|| {
        let left = self::states()?.difference(&states).cloned().collect::<Vec<_>>();
        ensure!(left.is_empty(), "states are left: {left:?}");
        let now = descriptors(server)?;
        // A connection that the server keeps open for the next request is no leak.
        ensure!(now <= files + 8, "{now} open files in the server, {files} before");
        Ok(())
    })?;
    say(&format!("{} rounds of {CLIENTS} clients: answers {answers:?}.", plan.rounds));
    Ok(())
}

/// One round; how often each status was answered.
fn one(server: &Server, seed: u64) -> anyhow::Result<BTreeMap<u16, u64>> {
    let told = Mutex::<Told>::default();
    for _ in 0..FIRST {
        let mut sandbox = Sandbox::create(server, "base", 600)?;
        let mark = sandbox.id.clone();
        sandbox.write("/home/user/mark", mark.as_bytes())?;
        let (id, token) = (sandbox.id.clone(), sandbox.token().to_owned());
        lock(&told).all.push(Known { id, token, mark });
    }
    let client = |number: u64| {
        let mut random = Random((seed ^ (number + 1) << 32) | 1);
        (0..CALLS).try_for_each(|call| {
            let context = || format!("client {number}, call {call}");
            act(server, &told, &mut random).with_context(context)
        })
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    for known in &told.all {
        // The last events are written a little after the last answers.
        wait_for(|| agrees(server, known, told.dead.contains(&known.id)))
            .with_context(|| format!("all is quiet, but {} is not one thing", known.id))?;
    }
    for known in told.all.iter().filter(|known| !told.dead.contains(&known.id)) {
        let woken = steer(server, &known.id, Deed::Connect)?;
        ensure!([200, 201].contains(&woken.status), "{} does not wake: {}", known.id, said(&woken));
        let mark = enter(server, known)?.read("/home/user/mark")?;
        ensure!(mark == known.mark.as_bytes(), "{} has lost its file", known.id);
        enter(server, known)?.kill()?;
    }
    for snapshot in &told.snapshots {
        let template = snapshot.split(':').next().unwrap_or_default();
        ask(server, "DELETE", &format!("/templates/{template}"), &json!({}))?.ok()?;
    }
    Ok(told.n_calls)
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call of one client, and whether its answer may be.
fn act(server: &Server, told: &Mutex<Told>, random: &mut Random) -> anyhow::Result<()> {
    let mut deed = Deed::draw(random);
    let (known, is_gone) = {
        let mut told = lock(told);
        let at = usize::try_from(random.below(told.all.len() as u64)).unwrap_or_default();
        let known = told.all[at].clone();
        if deed == Deed::Fork && told.all.len() >= MOST {
            deed = Deed::Connect;
        }
        if deed == Deed::Kill {
            told.doomed.insert(known.id.clone());
        }
        let is_gone = told.dead.contains(&known.id);
        (known, is_gone)
    };
    match deed {
        Deed::List => return list(server, told),
        Deed::Run => return see(server, told, &known, is_gone),
        _ => {}
    }
    let answer = steer(server, &known.id, deed)?;
    let mut told = lock(told);
    let is = match (is_gone, told.doomed.contains(&known.id)) {
        (true, _) => Is::Gone,
        (false, true) => Is::Unsure,
        (false, false) => Is::There,
    };
    *told.n_calls.entry(answer.status).or_default() += 1;
    ensure!(may_be(deed, is, answer.status), "{deed:?} of one that is {is:?}: {}", said(&answer));
    match (deed, answer.status) {
        (Deed::Kill, _) => drop(told.dead.insert(known.id)),
        (Deed::Snapshot, 201) => {
            let id = answer.json()?["snapshotID"].as_str().context("a snapshot has an id")?.to_owned();
            told.snapshots.push(id);
        }
        (Deed::Fork, 201) => {
            let child = &answer.json()?[0]["sandbox"];
            let text = |name: &str| child[name].as_str().map(str::to_owned);
            let (id, token) =
                text("sandboxID").zip(text("envdAccessToken")).with_context(|| said(&answer))?;
            told.all.push(Known { id, token, mark: known.mark });
        }
        _ => {}
    }
    Ok(())
}

fn may_be(deed: Deed, is: Is, status: u16) -> bool {
    let of_one_there = deed.answers().contains(&status);
    match is {
        Is::There => of_one_there,
        Is::Unsure => of_one_there || status == 404,
        Is::Gone => status == 404,
    }
}

/// Nobody is listed who is gone, and nobody is missing whom nobody wanted gone.
fn list(server: &Server, told: &Mutex<Told>) -> anyhow::Result<()> {
    let (dead, all) = {
        let told = lock(told);
        (told.dead.clone(), told.all.iter().map(|one| one.id.clone()).collect::<Vec<_>>())
    };
    let listed = listed(server)?;
    let told = lock(told);
    ensure!(dead.iter().all(|id| !listed.contains_key(id)), "of {dead:?} some are listed: {listed:?}");
    let missing: Vec<_> =
        all.iter().filter(|id| !told.doomed.contains(*id) && !listed.contains_key(*id)).collect();
    ensure!(missing.is_empty(), "not listed: {missing:?}");
    Ok(())
}

/// A look inside: its file, or the news that it does not run, or a connection that was cut.
fn see(server: &Server, told: &Mutex<Told>, known: &Known, is_gone: bool) -> anyhow::Result<()> {
    let seen = enter(server, known)?.run("cat mark", false);
    match seen {
        Ok((0, mark)) => {
            ensure!(!is_gone && mark == known.mark.as_bytes(), "{} has {mark:?}, gone: {is_gone}", known.id);
            *lock(told).n_calls.entry(200).or_default() += 1;
            Ok(())
        }
        // What ran was ended with the sandbox.
        Ok((-1 | 137, _)) => Ok(()),
        Ok((code, _)) => anyhow::bail!("{} ended with {code}", known.id),
        Err(error) if is_away(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a call found a sandbox that does not run, or was cut off by its pause or its end.
fn is_away(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    let is_cut = error.chain().any(<dyn std::error::Error>::is::<std::io::Error>);
    let told = ["status 502", "the connection was closed", "no end record", "breaks off", "told no exit"];
    is_cut || told.iter().any(|words| text.contains(words))
}

/// Whatever tells of it tells the same.
fn agrees(server: &Server, known: &Known, is_dead: bool) -> anyhow::Result<()> {
    let id = &known.id;
    let seen = steer(server, id, Deed::Look)?;
    let record = ask(server, "GET", &format!("/sandboxes/{id}/record"), &json!({}))?;
    let path = format!("/events/sandboxes/{id}?limit=100&orderAsc=true");
    let events = ask(server, "GET", &path, &json!({}))?.json()?;
    let events: Vec<&str> = events.as_array().into_iter().flatten().filter_map(moved).collect();
    let listed = listed(server)?.remove(id);
    let all = format!(
        "{} {}, record {}, events {events:?}, listed {listed:?}",
        seen.status,
        said(&seen),
        record.status
    );
    if is_dead {
        ensure!((seen.status, record.status, &listed) == (404, 200, &None), "{all}");
        ensure!(record.json()?["cause"] == "killed", "{}", said(&record));
    } else {
        let state = seen.json()?["state"].as_str().map(str::to_owned);
        ensure!(record.status == 404 && listed.is_some() && listed == state, "{all}");
    }
    let mut lives: Vec<&str> = events.clone();
    let killed = lives.pop_if(|last| *last == "killed");
    ensure!(killed.is_some() == is_dead, "{all}");
    let expected = ["created"].into_iter().chain(["paused", "resumed"].into_iter().cycle());
    ensure!(lives.iter().copied().eq(expected.take(lives.len())), "{all}");
    let sleeps = lives.last() == Some(&"paused");
    ensure!(is_dead || sleeps == (listed.as_deref() == Some("paused")), "{all}");
    Ok(())
}

/// The last word of an event's type, if it moves a sandbox from one state to another.
fn moved(event: &Value) -> Option<&str> {
    let kind = event["type"].as_str()?.rsplit('.').next()?;
    ["created", "paused", "resumed", "killed"].contains(&kind).then_some(kind)
}

fn said(answer: &Answer) -> String {
    format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body))
}

fn steer(server: &Server, id: &str, deed: Deed) -> anyhow::Result<Answer> {
    let (method, what, body) = deed.request();
    ask(server, method, &format!("/sandboxes/{id}{what}"), &body)
}

fn ask(server: &Server, method: &str, path: &str, body: &Value) -> anyhow::Result<Answer> {
    let headers = [("X-API-Key", server.api_key.as_str()), ("Content-Type", "application/json")];
    connect(server)?.request(method, path, &headers, body.to_string().as_bytes())
}

fn connect(server: &Server) -> anyhow::Result<Connection> {
    server.connect()?.patient(PATIENCE)
}

fn enter(server: &Server, known: &Known) -> anyhow::Result<Sandbox> {
    Ok(Sandbox::known(connect(server)?, &server.api_key, &known.id, &known.token))
}

/// Id and state of each that is listed.
fn listed(server: &Server) -> anyhow::Result<BTreeMap<String, String>> {
    let list = ask(server, "GET", "/v2/sandboxes?state=running,paused&limit=100", &json!({}))?.json()?;
    let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    let rows = list.as_array().into_iter().flatten();
    Ok(rows.filter_map(|row| text(row, "sandboxID").zip(text(row, "state"))).collect())
}

/// What is on the disk of states that were written down.
fn states() -> anyhow::Result<BTreeSet<String>> {
    let dir = repo::state().join("fs/generations");
    let entries = std::fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_found_and_what_is_there_is() {
        assert!(may_be(Deed::Connect, Is::There, 201) && !may_be(Deed::Connect, Is::There, 404));
        assert!(may_be(Deed::Connect, Is::Unsure, 404) && !may_be(Deed::Connect, Is::Unsure, 500));
        assert!(may_be(Deed::Kill, Is::Gone, 404) && !may_be(Deed::Kill, Is::Gone, 204));
        let mut random = Random(7);
        let drawn: Vec<_> = (0..1000).map(|_| Deed::draw(&mut random)).collect();
        assert!(DRAWN.iter().all(|(_, deed)| drawn.contains(deed)), "each is drawn");
    }
}

//! `kill -9` of the server at random moments of a build of ten steps: after the
//! restart the build ends ready, or failed with its reason; what is ready holds
//! every step, no layer is damaged, and the disk holds no more than before.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Random, kill_all, state_bytes, wait_for};
use crate::command::say;
use crate::http::Connection;
use crate::raw::Sandbox;
use crate::repo;
use crate::server::Server;

/// What one soak of builds does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Builds, each killed once.
    pub(crate) rounds: u32,
    /// Repeats a run, as far as the machine lets it.
    pub(crate) seed: u64,
}

/// The form that every test run includes.
pub(crate) const SHORT: Plan = Plan { rounds: 4, seed: 1 };

/// Steps of each build.
const STEPS: u32 = 10;
/// No build takes longer, a restart included.
const LONGEST: Duration = Duration::from_mins(3);
/// What a run may leave: the bookkeeping of the file system.
const SLACK: u64 = 128 << 20;

/// A build that was asked for.
struct Build {
    template: String,
    build: String,
}

/// Builds, kills and looks, again and again.
pub(crate) fn run(server: &mut Server, plan: Plan) -> anyhow::Result<()> {
    let mut random = Random(plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mark = format!("{}-{}", std::process::id(), plan.seed);
    // How long an undisturbed build takes says when to disturb the others.
    let start = Instant::now();
    let whole = one(server, &format!("{mark}-whole"), None)?;
    let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    anyhow::ensure!(whole, "a build that nobody disturbs is ready");
    clear(server)?;
    let before = state_bytes();
    let mut ready = 0;
    for round in 0..plan.rounds {
        let moment = Duration::from_millis(random.below(took.max(1)));
        let name = format!("{mark}-{round}");
        let outcome =
            one(server, &name, Some(moment)).with_context(|| format!("kill {round} after {moment:?}"))?;
        ready += u32::from(outcome);
        verify(server).with_context(|| format!("after kill {round}"))?;
    }
    clear(server)?;
    wait_for(|| {
        // Space of removed layers comes back with the file system's next commit.
        let state = std::fs::File::open(repo::state().join("fs")).context("open the state file system")?;
        rustix::fs::syncfs(&state).context("write the state file system back")?;
        let now = state_bytes();
        anyhow::ensure!(now <= before + SLACK, "{now} bytes in the state directory, {before} before");
        Ok(())
    })?;
    let failed = plan.rounds - ready;
    say(&format!("{} builds killed: {ready} ready afterwards, {failed} failed with a reason.", plan.rounds));
    Ok(())
}

/// One build, with the server killed at a moment of it; whether it is ready at its end.
fn one(server: &mut Server, mark: &str, kill_after: Option<Duration>) -> anyhow::Result<bool> {
    let name = format!("soak-{mark}");
    let build = start(server, &name, mark)?;
    if let Some(moment) = kill_after {
        std::thread::sleep(moment);
        server.crash()?;
    }
    let ready = match outcome(server, &build)? {
        Ok(()) => true,
        Err(reason) => {
            anyhow::ensure!(!reason.is_empty(), "the build failed without a reason");
            say(&format!("the build failed: {reason}"));
            false
        }
    };
    if ready {
        holds(server, &name, mark)?;
    }
    // The same steps again: nothing that was left half-done is in their way.
    let again = start(server, &name, mark)?;
    outcome(server, &again)?.map_err(anyhow::Error::msg).context("build the same steps again")?;
    holds(server, &name, mark)?;
    call(server, "DELETE", &format!("/templates/{name}"), &Value::Null)?;
    Ok(ready)
}

fn start(server: &Server, name: &str, mark: &str) -> anyhow::Result<Build> {
    let made = call(server, "POST", "/v3/templates", &json!({ "name": name }))?;
    let id = |key: &str| made[key].as_str().map(str::to_owned).with_context(|| format!("{key} in {made}"));
    let build = Build { template: id("templateID")?, build: id("buildID")? };
    let step = |n: u32| {
        // What an earlier step made is changed and removed, too.
        let command = format!(
            "mkdir -p ~/steps; echo {mark} {n} > ~/steps/{n}; echo {n} > ~/steps/last; rm -f ~/steps/gone-*; \
             touch ~/steps/gone-{n}; head -c 1000000 /dev/urandom > ~/filled-{n}"
        );
        json!({ "type": "RUN", "args": [command] })
    };
    let steps: Vec<Value> = (1..=STEPS).map(step).collect();
    let path = format!("/v2/templates/{}/builds/{}", build.template, build.build);
    call(server, "POST", &path, &json!({ "fromTemplate": "base", "steps": steps }))?;
    Ok(build)
}

/// Waits for the end of a build; the reason if it failed.
fn outcome(server: &Server, build: &Build) -> anyhow::Result<Result<(), String>> {
    let path = format!("/templates/{}/builds/{}/status", build.template, build.build);
    let start = Instant::now();
    while start.elapsed() < LONGEST {
        let status = call(server, "GET", &path, &Value::Null)?;
        match status["status"].as_str() {
            Some("ready") => return Ok(Ok(())),
            Some("error") => {
                return Ok(Err(status["reason"]["message"].as_str().unwrap_or_default().to_owned()));
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    anyhow::bail!("the build is under way for ever")
}

/// Every step's file is there, and what steps removed is not.
fn holds(server: &Server, name: &str, mark: &str) -> anyhow::Result<()> {
    let mut sandbox = Sandbox::create(server, name, 60)?;
    let (code, output) = sandbox.run("cd ~/steps && cat $(seq 10) last && ls", false)?;
    sandbox.kill()?;
    let written: Vec<_> = (1..=STEPS).map(|n| format!("{mark} {n}\n")).collect();
    let mut expected = written.concat();
    expected.push_str("10\n1\n10\n2\n3\n4\n5\n6\n7\n8\n9\ngone-10\nlast\n");
    let seen = String::from_utf8_lossy(&output);
    anyhow::ensure!(code == 0 && seen == expected, "exit {code}, the template holds {seen:?}");
    Ok(())
}

/// No layer is damaged.
fn verify(server: &Server) -> anyhow::Result<()> {
    let verified = call(server, "POST", "/template-cache/verify", &json!({}))?;
    anyhow::ensure!(verified["damaged"] == json!([]), "damaged layers: {}", verified["damaged"]);
    anyhow::ensure!(verified["layers"].as_u64() > Some(0), "layers were looked at: {verified}");
    Ok(())
}

/// Removes every layer that nothing stands on, and waits until they are gone: what
/// other tests left can be hundreds.
fn clear(server: &Server) -> anyhow::Result<()> {
    kill_all(server)?;
    let start = Instant::now();
    loop {
        let cleared = call(server, "POST", "/template-cache/gc", &json!({ "unusedForHours": 0 }))?;
        if cleared["removing"].as_u64() == Some(0) {
            return Ok(());
        }
        anyhow::ensure!(start.elapsed() < LONGEST, "layers are not removed: {cleared}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn call(server: &Server, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let mut connection = Connection::open(&server.address)?;
    let headers = [("X-API-Key", server.api_key.as_str()), ("Content-Type", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let reply = connection.request(method, path, &headers, &body)?;
    let shown = String::from_utf8_lossy(&reply.body).into_owned();
    anyhow::ensure!(reply.status < 300, "{method} {path}: {} {shown}", reply.status);
    Ok(serde_json::from_str(&shown).unwrap_or(Value::Null))
}

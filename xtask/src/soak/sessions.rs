//! Sessions of a web application, many at a time: each must see its own
//! variables and files and nobody else's, and leave nothing.

use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Random;
use crate::census::Census;
use crate::http::Connection;
use crate::server::Server;

/// What one soak of sessions does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Sessions at a time.
    pub(crate) sessions: u32,
    /// Calls of each.
    pub(crate) calls: u32,
}

/// The form that every test run includes.
pub(crate) const SHORT: Plan = Plan { sessions: 8, calls: 12 };

/// Calls from all sessions at once; then the host looks as before.
pub(crate) fn run(server: &Server, plan: Plan, seed: u64) -> anyhow::Result<()> {
    let mut first = Session::open(server, u32::MAX)?;
    first.execute("0")?;
    first.stop()?;
    let before = Census::take()?;
    // Kernels take a processor each while they start; calls then come from all at once.
    let starts: [Mutex<()>; 4] = Default::default();
    let starts = &starts;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..plan.sessions)
            .map(|number| scope.spawn(move || live(server, plan, seed, (number, starts))))
            .collect();
        all.into_iter().try_for_each(|one| one.join().expect("a session does not panic"))
    })?;
    before.settle()
}

fn live(
    server: &Server,
    plan: Plan,
    seed: u64,
    (number, starts): (u32, &[Mutex<()>; 4]),
) -> anyhow::Result<()> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(number) << 20 | 1));
    let mut session = Session::open(server, number)?;
    {
        let turn = &starts[usize::try_from(number).unwrap_or_default() % starts.len()];
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        session.call("POST", "start", "application/json", b"").context("start")?;
    }
    let mut expected = 0;
    for call in 0..plan.calls {
        one(&mut session, &mut random, &mut expected)
            .with_context(|| format!("session {number}, call {call}"))?;
    }
    session.stop()
}

/// One call, and what it must answer.
fn one(session: &mut Session<'_>, random: &mut Random, expected: &mut u64) -> anyhow::Result<()> {
    let name = session.name.clone();
    match random.below(5) {
        0 | 1 => {
            *expected += 1;
            let code = format!(
                "mine = globals().get('mine', 0) + 1\nwho = globals().get('who', '{name}')\nprint(who, mine)"
            );
            let seen = session.execute(&code)?;
            anyhow::ensure!(seen == format!("{name} {expected}\n"), "{seen:?} instead of {name} {expected}");
        }
        2 => {
            session.upload(name.as_bytes())?;
            let seen = session.get("download?path=/home/user/upload/own")?;
            anyhow::ensure!(seen == name.as_bytes(), "another session's file: {seen:?}");
        }
        3 => {
            let listed: Value = serde_json::from_slice(&session.get("status")?).context("read a status")?;
            let other = listed["session_id"].as_str().is_some_and(|id| id != name);
            anyhow::ensure!(!other, "another session's sandbox: {listed}");
        }
        _ => {
            session.execute("import os; os.makedirs('/home/user/upload', exist_ok=True)")?;
            let listed: Value = serde_json::from_slice(&session.get("files?path=/home/user/upload")?)
                .context("read a list")?;
            let own = |row: &Value| row["path"].as_str().is_some_and(|path| path.ends_with("/own"));
            let all_own = listed.as_array().is_some_and(|rows| rows.iter().all(own));
            anyhow::ensure!(all_own, "files of others: {listed}");
        }
    }
    Ok(())
}

/// One session over one connection.
struct Session<'a> {
    connection: Connection,
    key: &'a str,
    name: String,
}

impl<'a> Session<'a> {
    fn open(server: &'a Server, number: u32) -> anyhow::Result<Self> {
        let name = format!("soak-{number}");
        Ok(Self { connection: server.connect()?, key: &server.api_key, name })
    }

    fn execute(&mut self, code: &str) -> anyhow::Result<String> {
        let body = json!({ "code": code }).to_string();
        let answer = self.call("POST", "execute", "application/json", body.as_bytes())?;
        let answer: Value = serde_json::from_slice(&answer).context("read an execution")?;
        anyhow::ensure!(answer["success"] == true, "the code failed: {answer}");
        Ok(answer["output"].as_str().unwrap_or_default().to_owned())
    }

    fn upload(&mut self, content: &[u8]) -> anyhow::Result<()> {
        let head = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"own\"\r\n\r\n";
        let form = [head, content, b"\r\n--b--\r\n"].concat();
        // A session without a sandbox takes no files.
        self.call("POST", "start", "application/json", b"")?;
        self.call("POST", "upload", "multipart/form-data; boundary=b", &form).map(drop)
    }

    fn get(&mut self, call: &str) -> anyhow::Result<Vec<u8>> {
        self.call("GET", call, "application/json", b"")
    }

    fn stop(mut self) -> anyhow::Result<()> {
        self.call("POST", "stop", "application/json", b"")?;
        // A stop answers when the sandbox is gone: nothing may be seen of it.
        let status = self.get("status")?;
        anyhow::ensure!(status == b"null", "after its stop: {}", String::from_utf8_lossy(&status));
        Ok(())
    }

    fn call(&mut self, method: &str, call: &str, kind: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let path = format!("/api/v1/session/{}/sandbox/{call}", self.name);
        let headers = [("X-API-Key", self.key), ("Content-Type", kind)];
        let answer = self.connection.request(method, &path, &headers, body)?;
        answer.ok().with_context(|| format!("{method} {call}"))?;
        Ok(answer.body)
    }
}

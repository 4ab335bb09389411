//! Sandboxes over the bare wire: what an SDK sends, without the SDK's own time.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::http::{Answer, Connection};
use crate::server::Server;

/// One sandbox, over one kept-alive connection.
#[derive(Debug)]
pub(crate) struct Sandbox {
    connection: Connection,
    api_key: String,
    /// Its id.
    pub(crate) id: String,
    token: String,
}

/// `Authorization: Basic` for `user` and for `root`, each with an empty password.
const AS_USER: &str = "Basic dXNlcjo=";
const AS_ROOT: &str = "Basic cm9vdDo=";

const DAEMON: &str = "49983";
const INTERPRETER: &str = "49999";

impl Sandbox {
    /// Creates one that lives `timeout_s` seconds.
    pub(crate) fn create(server: &Server, template: &str, timeout_s: u32) -> anyhow::Result<Self> {
        Self::create_over(server.connect()?, &server.api_key, template, timeout_s)
    }

    /// The same over a connection of one's own.
    pub(crate) fn create_over(
        mut connection: Connection,
        api_key: &str,
        template: &str,
        timeout_s: u32,
    ) -> anyhow::Result<Self> {
        let headers = [("X-API-Key", api_key), ("Content-Type", "application/json")];
        let body = json!({ "templateID": template, "timeout": timeout_s }).to_string();
        let answer = connection.request("POST", "/v2/sandboxes", &headers, body.as_bytes())?.json()?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned).unwrap_or_default();
        let (id, token) = (text("sandboxID"), text("envdAccessToken"));
        anyhow::ensure!(!id.is_empty(), "a create answered {answer}");
        Ok(Self { connection, api_key: api_key.to_owned(), id, token })
    }

    /// One that was created before.
    pub(crate) fn known(connection: Connection, api_key: &str, id: &str, token: &str) -> Self {
        let (api_key, id, token) = (api_key.to_owned(), id.to_owned(), token.to_owned());
        Self { connection, api_key, id, token }
    }

    /// What its daemon demands.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Kills it; the answer comes when it is gone.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        let path = format!("/sandboxes/{}", self.id);
        self.connection.request("DELETE", &path, &[("X-API-Key", &self.api_key)], b"")?.ok()
    }

    /// Asks the control plane something about it: `what` follows its path.
    pub(crate) fn steer(&mut self, method: &str, what: &str, body: &Value) -> anyhow::Result<Answer> {
        let path = format!("/sandboxes/{}{what}", self.id);
        let headers = [("X-API-Key", self.api_key.as_str()), ("Content-Type", "application/json")];
        let answer = self.connection.request(method, &path, &headers, body.to_string().as_bytes())?;
        answer.ok().with_context(|| format!("{method} {path}"))?;
        Ok(answer)
    }

    /// Goes on over another connection: whatever ends a machine resets those to it.
    pub(crate) fn over(self, connection: Connection) -> Self {
        Self { connection, ..self }
    }

    /// Runs a shell line and takes its exit code and standard output.
    pub(crate) fn run(&mut self, line: &str, root: bool) -> anyhow::Result<(i64, Vec<u8>)> {
        let start = json!({ "process": { "cmd": "/bin/bash", "args": ["-l", "-c", line] }, "stdin": false });
        self.start(&start, root)
    }

    /// Runs a program without a shell.
    pub(crate) fn exec(&mut self, program: &str) -> anyhow::Result<i64> {
        let start = json!({ "process": { "cmd": program, "args": [] }, "stdin": false });
        self.start(&start, false).map(|(code, _)| code)
    }

    fn start(&mut self, start: &Value, root: bool) -> anyhow::Result<(i64, Vec<u8>)> {
        exit_of(&self.stream(start, root)?)
    }

    fn stream(&mut self, start: &Value, root: bool) -> anyhow::Result<Vec<u8>> {
        let message = start.to_string();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).context("a message of this size")?.to_be_bytes());
        body.extend_from_slice(message.as_bytes());
        let user = if root { AS_ROOT } else { AS_USER };
        let headers = [
            ("Content-Type", "application/connect+json"),
            ("Connect-Protocol-Version", "1"),
            ("Authorization", user),
        ];
        self.guest("POST", "/process.Process/Start", DAEMON, &headers, &body)
    }

    /// Lets a process print so many bytes; gives the length of the stream that carries them.
    pub(crate) fn print(&mut self, n_bytes: usize) -> anyhow::Result<usize> {
        let arguments = ["-c".to_owned(), n_bytes.to_string(), "/dev/zero".to_owned()];
        let start = json!({ "process": { "cmd": "head", "args": arguments }, "stdin": false });
        let stream = self.stream(&start, false)?;
        anyhow::ensure!(stream.ends_with(b"{}"), "the stream has no good end");
        Ok(stream.len())
    }

    /// A unary call of the daemon.
    pub(crate) fn call(&mut self, method: &str, message: &Value) -> anyhow::Result<Value> {
        let headers = [("Content-Type", "application/json"), ("Authorization", AS_USER)];
        let answer = self.guest("POST", method, DAEMON, &headers, message.to_string().as_bytes())?;
        serde_json::from_slice(&answer).with_context(|| format!("read the answer of {method}"))
    }

    /// Writes one file, raw.
    pub(crate) fn write(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let target = format!("/files?path={path}&username=user");
        let headers = [("Content-Type", "application/octet-stream")];
        self.guest("POST", &target, DAEMON, &headers, bytes).map(drop)
    }

    /// Reads one file.
    pub(crate) fn read(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.guest("GET", &format!("/files?path={path}&username=user"), DAEMON, &[], b"")
    }

    /// Runs a cell in the default context and takes the text of its main result.
    pub(crate) fn cell(&mut self, code: &str) -> anyhow::Result<String> {
        self.execute(&json!({ "code": code }))
    }

    /// The same in a context of [`Sandbox::new_context`].
    pub(crate) fn cell_in(&mut self, context: &str, code: &str) -> anyhow::Result<String> {
        self.execute(&json!({ "code": code, "context_id": context }))
    }

    /// Makes a Python context and gives its id.
    pub(crate) fn new_context(&mut self) -> anyhow::Result<String> {
        let headers = [("Content-Type", "application/json")];
        let made = self.guest("POST", "/contexts", INTERPRETER, &headers, b"{}")?;
        let made: Value = serde_json::from_slice(&made).context("read a context")?;
        made["id"].as_str().map(str::to_owned).context("a context has an id")
    }

    /// Ends a context.
    pub(crate) fn end_context(&mut self, context: &str) -> anyhow::Result<()> {
        self.guest("DELETE", &format!("/contexts/{context}"), INTERPRETER, &[], b"").map(drop)
    }

    fn execute(&mut self, request: &Value) -> anyhow::Result<String> {
        for item in self.items(request)? {
            match item["type"].as_str() {
                Some("result") => return Ok(item["text"].as_str().unwrap_or_default().to_owned()),
                Some("error") => bail!("the cell failed: {item}"),
                _ => {}
            }
        }
        Ok(String::new())
    }

    /// Runs code and gives every line of the answer.
    pub(crate) fn items(&mut self, request: &Value) -> anyhow::Result<Vec<Value>> {
        let body = request.to_string();
        let headers = [("Content-Type", "application/json")];
        let answer = self.guest("POST", "/execute", INTERPRETER, &headers, body.as_bytes())?;
        let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).context("read a line of a cell's answer")).collect()
    }

    /// Asks the daemon whether it is well: the shortest way to the inside and back.
    pub(crate) fn health(&mut self) -> anyhow::Result<()> {
        self.guest("GET", "/health", DAEMON, &[], b"").map(drop)
    }

    fn guest(
        &mut self,
        method: &str,
        path: &str,
        port: &str,
        more: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let own = [
            ("E2b-Sandbox-Id", self.id.as_str()),
            ("E2b-Sandbox-Port", port),
            ("X-Access-Token", &self.token),
        ];
        let headers: Vec<(&str, &str)> = own.into_iter().chain(more.iter().copied()).collect();
        let answer = self.connection.request(method, path, &headers, body)?;
        answer.ok()?;
        Ok(answer.body)
    }
}

/// Reads the envelopes of a finished process.
fn exit_of(mut stream: &[u8]) -> anyhow::Result<(i64, Vec<u8>)> {
    let (mut code, mut stdout) = (None, Vec::new());
    while let [flags, a, b, c, d, rest @ ..] = stream {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).context("a length")?;
        anyhow::ensure!(rest.len() >= length, "the stream breaks off");
        let message: Value = serde_json::from_slice(&rest[..length]).context("read an envelope")?;
        if flags & 2 != 0 {
            anyhow::ensure!(message.get("error").is_none(), "the process failed: {message}");
            return Ok((code.context("the stream told no exit")?, stdout));
        }
        if let Some(text) = message["event"]["data"]["stdout"].as_str() {
            stdout.extend(base64(text)?);
        }
        if let Some(end) = message["event"].get("end") {
            code = Some(end["exitCode"].as_i64().unwrap_or_default());
        }
        stream = &rest[length..];
    }
    bail!("the stream has no end record")
}

fn base64(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for symbol in text.bytes().filter(|byte| *byte != b'=') {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => bail!("{other} in base64"),
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).context("a byte")?);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{base64, exit_of};

    fn envelope(flags: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![flags];
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn reads_a_process() {
        let mut stream = envelope(0, r#"{"event":{"start":{"pid":7}}}"#);
        stream.extend(envelope(0, r#"{"event":{"data":{"stdout":"aGkK"}}}"#));
        stream.extend(envelope(0, r#"{"event":{"end":{"exitCode":3,"exited":true}}}"#));
        assert!(exit_of(&stream).is_err(), "no end record");
        stream.extend(envelope(2, "{}"));
        assert_eq!(exit_of(&stream).unwrap(), (3, b"hi\n".to_vec()));
    }

    #[test]
    fn decodes_base64() {
        assert_eq!(base64("").unwrap(), b"");
        assert_eq!(base64("YQ==").unwrap(), b"a");
        assert_eq!(base64("/+8=").unwrap(), [0xff, 0xef]);
        assert!(base64("a b").is_err());
    }
}

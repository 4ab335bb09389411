"""What a sandbox tells: its log, its metrics over its end, its events, webhooks."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from e2b import CommandExitException, Sandbox
from e2b_code_interpreter import Sandbox as CodeSandbox
from waiting import until


def entries(api, sandbox_id, **query):
    answer = api.get(f"/sandboxes/{sandbox_id}/logs", params=query)
    assert answer.status_code == 200, answer.text
    for one in answer.json()["logs"]:
        assert json.loads(one["line"])["level"] in ("debug", "info", "warn", "error")
    return answer.json()["logEntries"]


def test_processes_and_the_end_are_told(api, create):
    sandbox = create()
    sandbox.commands.run("echo told")
    found = until(
        lambda: [one for one in entries(api, sandbox.sandbox_id) if one["message"] == "Process ended"], "the end of a process"
    )
    assert found[0]["fields"]["exit_code"] == "0"
    started = [one for one in entries(api, sandbox.sandbox_id) if one["message"] == "Process started"]
    assert "echo told" in started[0]["fields"]["command"] and started[0]["fields"]["user"] == "user"
    sandbox.kill()
    messages = [one["message"] for one in entries(api, sandbox.sandbox_id)]
    assert messages[0] == "Sandbox started" and messages[-1] == "Sandbox ended: it was killed by a request"
    newest = api.get(f"/v2/sandboxes/{sandbox.sandbox_id}/logs", params={"limit": 1}).json()["logs"]
    assert newest[0]["message"] == messages[-1]
    assert entries(api, "i00000000000000000000") == []


def test_the_interpreter_is_told(api, create):
    sandbox = create("code-interpreter-v1", CodeSandbox)
    messages = [one["message"] for one in entries(api, sandbox.sandbox_id)]
    assert "Kernel started" in messages and "The default context is ready" in messages


def test_a_flood_of_processes_is_bounded(api, create):
    sandbox = create()
    many = "x" * 900
    for _ in range(150):
        sandbox.commands.run(f": {many}", background=True)
    until(lambda: not sandbox.commands.list(), "their ends")
    sandbox.commands.run("echo last")
    found = until(
        lambda: [one for one in entries(api, sandbox.sandbox_id) if "echo last" in one["fields"].get("command", "")],
        "the last of them",
    )
    assert len(found) == 1
    assert len(json.dumps(entries(api, sandbox.sandbox_id, limit=100000))) < 1 << 20


@pytest.fixture
def inbox():
    """A receiver of webhooks and what it got."""
    got = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()


def test_events_are_listed_and_posted(api, create, inbox):


    """Row: E1, E2."""
    url, got = inbox
    hook = {
        "name": "test",
        "url": url,
        "enabled": True,
        "events": ["sandbox.lifecycle.created", "sandbox.lifecycle.killed"],
        "signatureSecret": "s3cret",
    }
    hook_id = api.post("/events/webhooks", json=hook).json()["id"]
    try:
        sandbox = create(metadata={"who": "me"})
        sandbox.set_timeout(100)
        sandbox.kill()
        events = api.get(f"/events/sandboxes/{sandbox.sandbox_id}").json()
        assert [one["type"].rsplit(".", 1)[1] for one in events] == ["killed", "updated", "created"]
        assert events[0]["eventData"]["sandbox_metadata"] == {"who": "me"}
        assert events[0]["eventData"]["execution"]["execution_time"] > 0

        def mine():
            return [(h, b) for h, b in got if json.loads(b)["sandboxId"] == sandbox.sandbox_id]

        until(lambda: len(mine()) == 2, "both messages")
        headers, body = next((h, b) for h, b in mine() if b"killed" in b)
        digest = hashlib.sha256(b"s3cret" + body).digest()
        headers = {name.lower(): value for name, value in headers.items()}
        assert headers["e2b-signature"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert headers["e2b-webhook-id"] == hook_id and headers["e2b-signature-version"] == "v1"
    finally:
        assert api.delete(f"/events/webhooks/{hook_id}").status_code == 200


def test_metrics_outlive_the_sandbox(api):
    with Sandbox.create(timeout=60) as sandbox:
        until(sandbox.get_metrics, "a sample", 30)
    path = f"/sandboxes/{sandbox.sandbox_id}/metrics"
    assert until(lambda: api.get(path).json(), "the samples of an ended sandbox")
    team = api.get("/teams").json()[0]["teamID"]
    of_team = until(lambda: api.get(f"/teams/{team}/metrics").json(), "a sample of the team", 40)
    assert {"timestamp", "timestampUnix", "concurrentSandboxes", "sandboxStartRate"} == of_team[0].keys()


def test_who_died_for_want_of_memory_is_told(api, create):
    sandbox = create()
    with pytest.raises(CommandExitException):
        sandbox.commands.run("exec tail /dev/zero")
    with pytest.raises(CommandExitException) as of_a_shell:
        sandbox.commands.run("tail /dev/zero; exit $?", user="root")
    assert of_a_shell.value.exit_code == 137
    killed = sandbox.commands.run("sleep 60", background=True)
    killed.kill()
    seen = [one for one in entries(api, sandbox.sandbox_id) if "was killed" in one["message"]]
    assert [one["fields"]["name"] for one in seen] == ["tail", "bash"]
    sandbox.kill()
    record = api.get(f"/sandboxes/{sandbox.sandbox_id}/record").json()
    told = [(one["name"], one["user"], one["itself"]) for one in record["oomVictims"]]
    assert (record["oomKills"], told) == (2, [("tail", "user", True), ("bash", "root", False)])
    assert all(one["pid"] > 1 and one["at"] < record["endedAt"] for one in record["oomVictims"])
    last = entries(api, sandbox.sandbox_id)[-1]
    assert last["fields"]["oom_victims"].startswith("tail (pid ")

"""The official `e2b` command on sandboxes: a terminal, sleep and waking, snapshots.

`E2B_CLI` holds the command as a JSON list: Node.js and the program's file. What it does
besides is in `tests/matrix/cli.py`."""

import json
import os
import re
import subprocess
import uuid

import pytest
from e2b import Sandbox, SandboxState
from terminals import Terminal

COMMAND = json.loads(os.environ["E2B_CLI"])


def e2b(*arguments, status=0):
    """Runs the command without a terminal, and gives what it printed."""
    command = [*COMMAND, "sandbox", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.fixture
def sandbox():
    with Sandbox.create(timeout=300) as created:
        yield created


def test_connect_is_a_terminal(sandbox):
    """Row: X2."""
    terminal = Terminal([*COMMAND, "sandbox", "connect", "-e", "WHO=me", "-c", "/tmp", sandbox.sandbox_id])
    terminal.until(rb"\$ ")
    terminal.type("echo $((6 * 7)) $WHO $PWD\r")
    terminal.until(rb"42 me /tmp\r+\n")
    terminal.type("exit\r")
    assert terminal.end() == 0
    assert sandbox.is_running()


def test_pause_and_resume(memory, sandbox):
    """Row: X2."""
    said = sandbox.commands.run("sleep 1000", background=True)
    assert sandbox.sandbox_id in e2b("pause", sandbox.sandbox_id)
    assert Sandbox.get_info(sandbox.sandbox_id).state == SandboxState.PAUSED
    assert "already paused" in e2b("pause", sandbox.sandbox_id)
    assert sandbox.sandbox_id in e2b("list", "-s", "paused")
    assert sandbox.sandbox_id in e2b("resume", sandbox.sandbox_id)
    assert sandbox.is_running()
    assert said.pid in [process.pid for process in sandbox.commands.list()]


def test_snapshots(memory, sandbox):
    """Row: X2."""
    name = f"test-cli-{uuid.uuid4().hex[:12]}"
    sandbox.files.write("/tmp/kept", "by the command")
    said = e2b("snapshot", "create", "-n", name, sandbox.sandbox_id)
    snapshot_id = re.search(rf"\S*{name}\S*", said).group()
    listed = e2b("snapshot", "list", sandbox.sandbox_id)
    assert name in listed, listed
    with Sandbox.create(name) as copy:
        assert copy.files.read("/tmp/kept") == "by the command"
    e2b("snapshot", "delete", snapshot_id)
    assert name not in e2b("snapshot", "list", sandbox.sandbox_id)

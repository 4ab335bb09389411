"""The quick start with the `e2b` command: `cli.py NODE E2B`."""

import json
import re
import subprocess
import sys

from login import login
from steps import ensure, step

NODE, PROGRAM = sys.argv[1:3]
sandbox_id = None


def e2b(*arguments, status=0):
    """Runs `e2b sandbox …` without a terminal and gives what it printed."""
    command = [NODE, PROGRAM, "sandbox", *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    ensure(done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr))
    return done.stdout


def create():


    """Row: A4, C2."""
    global sandbox_id
    printed = e2b("create", "-d", "base")
    found = re.search(r"\bi[a-z0-9]{20}\b", printed)
    ensure(found, printed)
    sandbox_id = found.group()


def command():
    ensure(e2b("exec", sandbox_id, "echo", "hello") == "hello\n", "echo")
    ensure(e2b("exec", "-u", "root", sandbox_id, "whoami") == "root\n", "-u root")
    ensure(e2b("exec", "-c", "/tmp", "-e", "WHO=me", sandbox_id, "echo $PWD $WHO") == "/tmp me\n", "-c -e")
    e2b("exec", sandbox_id, "exit 3", status=3)


def info():


    """Row: M2, X2."""
    found = json.loads(e2b("info", "-f", "json", sandbox_id))
    ensure(found["sandboxId"] == sandbox_id, found)
    ensure("Sandbox started" in e2b("logs", sandbox_id), "logs")
    e2b("metrics", sandbox_id)


def listing():
    found = json.loads(e2b("list", "-f", "json"))
    ensure(sandbox_id in [one["sandboxId"] for one in found], found)
    ensure(sandbox_id in e2b("list"), "the table")


def kill():
    ensure(sandbox_id in e2b("kill", sandbox_id), "kill")
    ensure(sandbox_id not in e2b("list"), "list after kill")


step("login", lambda: login(NODE, PROGRAM))
step("create", create)
step("info", info)
step("command", command)
step("list", listing)
step("kill", kill)

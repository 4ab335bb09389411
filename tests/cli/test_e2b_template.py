"""The official `e2b` command on templates: create, list, publish, delete.

`E2B_CLI` holds the command as a JSON list: Node.js and the program's file."""

import json
import os
import subprocess
import uuid

import httpx
import pytest
from e2b import Sandbox, Template

COMMAND = json.loads(os.environ["E2B_CLI"])


def e2b(*arguments, status=0, cwd=None):
    """Runs the command without a terminal, and gives what it printed."""
    done = subprocess.run(
        [*COMMAND, "template", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, cwd=cwd
    )
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.fixture
def name():
    chosen = f"test-cli-{uuid.uuid4().hex[:12]}"
    yield chosen
    url = f"{os.environ['E2B_API_URL']}/templates/{chosen}"
    assert httpx.delete(url, headers={"X-API-Key": os.environ["E2B_API_KEY"]}).status_code in (204, 404)


@pytest.fixture
def project(tmp_path):
    """A directory with a Dockerfile and a file that it copies."""
    (tmp_path / "page.html").write_text("served\n")
    (tmp_path / "Dockerfile").write_text("FROM debian:stable\nWORKDIR /srv/cli\nCOPY page.html index.html\nRUN echo built > said\n")
    return tmp_path


def test_create_follows_a_dockerfile(name, project):
    """Row: T15."""
    said = e2b("create", name, "--path", str(project), "--cpu-count", "1", "--memory-mb", "512")
    assert "✅ Building sandbox template" in said
    with Sandbox.create(name) as sandbox:
        assert sandbox.commands.run("cat index.html said; nproc").stdout == "served\nbuilt\n1\n"


def test_create_with_a_start_command(name, project):
    """Row: T5, T15."""
    ready = "curl -sf localhost:8080"
    e2b("create", name, "-p", str(project), "-c", "python3 -m http.server 8080", "--ready-cmd", ready)
    with Sandbox.create(name) as sandbox:
        assert sandbox.commands.run("curl -s localhost:8080").stdout == "served\n"


def test_a_build_that_fails_is_an_exit_code_and_names_the_step(name, project):
    """Row: T8, T15."""
    (project / "Dockerfile").write_text("FROM debian:stable\nRUN exit 7\n")
    assert "failed to run command 'exit 7': exit status 7" in e2b("create", name, "-p", str(project), status=1)


def test_list_publish_and_delete(name):
    """Row: T16."""
    Template.build(Template().from_template("base"), name)
    assert name in e2b("list")
    listed = lambda: next(one for one in json.loads(e2b("list", "-f", "json")) if name in str(one))
    assert listed()["public"] is False
    e2b("publish", "-y", name)
    assert listed()["public"] is True
    e2b("unpublish", "-y", name)
    assert listed()["public"] is False
    e2b("delete", "-y", name)
    assert name not in e2b("list")
    assert not Template.exists(name)


def test_a_template_in_use_is_not_deleted(name):
    """Row: T17."""
    Template.build(Template().from_template("base"), name)
    with Sandbox.create(name):
        assert "there are running sandboxes using it" in e2b("delete", "-y", name, status=1)
        assert Template.exists(name)

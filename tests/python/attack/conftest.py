"""A hostile sandbox, a sibling beside it, and the question that follows every
attack: does everybody else still answer?"""

import os

import httpx
import pytest
from e2b import CommandExitException, Sandbox

API_URL = os.environ["E2B_API_URL"]
HEADERS = {"X-API-Key": os.environ["E2B_API_KEY"]}


@pytest.fixture(scope="session")
def sibling():
    """A sandbox that does nothing wrong."""
    with Sandbox.create("base", timeout=900) as created:
        yield created


@pytest.fixture(scope="module")
def hostile():
    """A sandbox whose root attacks; shared, so its attacks leave it alive."""
    with Sandbox.create("base", timeout=900) as created:
        yield created


@pytest.fixture
def victim():
    """A sandbox for an attack that may destroy it from inside."""
    with Sandbox.create("base", timeout=300) as created:
        yield created


@pytest.fixture(autouse=True)
def others_live_on(sibling):
    """After each attack a sibling and the API answer."""
    yield
    assert sibling.commands.run("echo alive", user="root", timeout=20).stdout == "alive\n"
    listed = httpx.get(f"{API_URL}/v2/sandboxes", headers=HEADERS, timeout=20)
    assert listed.status_code == 200


@pytest.fixture(scope="session")
def root():
    """Runs a shell line as root inside; gives exit code and output, both streams."""

    def run(sandbox, line, timeout=60):
        try:
            done = sandbox.commands.run(line, user="root", timeout=timeout)
        except CommandExitException as failed:
            done = failed
        return done.exit_code, done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def python(root):
    """Runs a Python program as root inside; what it prints is the answer."""

    def run(sandbox, program, timeout=60):
        sandbox.files.write("/tmp/attack.py", program, user="root")
        _, output = root(sandbox, "python3 /tmp/attack.py", timeout)
        return output.strip()

    return run

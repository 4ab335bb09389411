"""What the suites share: sandboxes that are killed afterwards, and raw HTTP.

The official SDK is led here by the environment alone (`E2B_API_URL`,
`E2B_SANDBOX_URL`, `E2B_API_KEY`), as a user's script would be."""

import os
import time
from urllib.parse import urlsplit

import httpx
import pytest
from e2b import Sandbox as BaseSandbox
from e2b_code_interpreter import Sandbox as CodeSandbox

API_URL = os.environ["E2B_API_URL"]
API_KEY = os.environ["E2B_API_KEY"]


@pytest.fixture(scope="module")
def sandbox():
    """One sandbox of `base` for the tests of a module."""
    with BaseSandbox.create(timeout=600) as created:
        yield created


@pytest.fixture(scope="module")
def interpreter():
    """One sandbox of `code-interpreter-v1` for the tests of a module."""
    with CodeSandbox.create(timeout=600) as created:
        yield created


@pytest.fixture
def create():
    """Makes sandboxes for one test alone; whatever is left of them is killed."""
    made = []

    def make(template="base", kind=BaseSandbox, timeout=120, **options):
        made.append(kind.create(template, timeout=timeout, **options))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture(scope="session")
def address():
    """`host:port` of the listener."""
    return urlsplit(API_URL).netloc


@pytest.fixture(scope="session")
def api():
    """The REST API with the key, without an SDK."""
    with httpx.Client(base_url=API_URL, headers={"X-API-Key": API_KEY}, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def stranger():
    """The same listener without a key."""
    with httpx.Client(base_url=API_URL, timeout=30) as client:
        yield client


def routed(sandbox, port=49983, token=True):
    """The headers that lead a request to a port of a sandbox."""
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(port)}
    if token and sandbox._envd_access_token:
        headers["X-Access-Token"] = sandbox._envd_access_token
    return headers


def until(condition, what, seconds=10):
    """Waits for a condition; gives the first true value of it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")
